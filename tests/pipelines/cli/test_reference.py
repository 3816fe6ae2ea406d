"""docs/cli.md holds what the commands say of themselves."""

import pytest

from pipelines.cli import reference


def test_the_page_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    page = reference.render_reference()
    assert reference.REMEDIES_PAGE.read_text() == reference.render_remedies(), "run `make docs`"
    assert reference.PAGE.read_text() == page, "run `make docs`"
    assert page.isascii()
    assert "### mlops experiment start" in page
