"""Pages from templates: texts are escaped, and a missing value is an error."""

import pytest
from jinja2 import UndefinedError

from monitoring.pages import layout

DOCUMENT = "monitoring/pages/document.html.j2"


def test_texts_are_escaped() -> None:
    page = layout.render_page(DOCUMENT, title="<b>&")
    assert page.startswith("<!doctype html>\n")
    assert "<title>&lt;b&gt;&amp;</title>" in page


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="title"):
        layout.render_page(DOCUMENT)
