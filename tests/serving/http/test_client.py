"""`mlops predict --csv`: a mistake in the file is refused with its line; nothing is sent."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving.http import client
from settings import Settings, UserError
from tests.serving.in_process import (
    LocalService,
    example_request,
    post_json,
    send_request,
    service_parts,
)
from tests.use_case import USE_CASE

CELLS = {name: "" if value is None else str(value) for name, value in example_request().items()}
HEADER, ROW = ",".join(CELLS), ",".join(CELLS.values())
INTEGER = next(
    name
    for name, schema in USE_CASE.request().model_json_schema()["properties"].items()
    if schema.get("type") == "integer"
)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    parts = service_parts(Settings(home=tmp_path_factory.mktemp("home")))
    yield parts
    parts.close()


@pytest.fixture
def sent(parts: LocalService, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Connect the client to the service without a port; return the bodies that were sent."""
    bodies = []

    def post(url: str, *, content: str, **_: object) -> httpx.Response:
        bodies.append(content)
        return post_json(parts, httpx.URL(url).path, content)

    monkeypatch.setattr(httpx, "post", post)
    return bodies


def changed(name: str, cell: str) -> str:
    return ",".join((CELLS | {name: cell}).values())


REFUSED = [
    ("", "Line 1"),
    (f"{HEADER}\n", "no rows"),
    (f"{HEADER}\n{ROW}\n".replace(",", ";"), "Line 1 .* semicolons"),
    (f"{HEADER}\n{ROW}\n".replace(",", "\t"), "Line 1 .* tabs"),
    (f"{HEADER},{INTEGER}\n{ROW},1\n", "Line 1 .* twice"),
    (f"{HEADER}\n{ROW}\n{ROW},further\n", "Line 3 .* more cells than line 1"),
    (f"{HEADER}\n{ROW}\n{ROW.rpartition(',')[0]}\n", "Line 3 .* fewer cells than line 1"),
    (f'{HEADER},note\n{ROW},"two\nlines"\n{ROW},a,b\n', "Line 4 .* more cells"),
    (f"{HEADER}\n{ROW}\n{changed(INTEGER, 'many')}\n", f"Line 3, {INTEGER}: .*integer.* 'many'"),
    (f"{HEADER}\n{changed(INTEGER, '--5')}\n", f"Line 2, {INTEGER}: .*integer"),
    (f"{HEADER}\n{changed(INTEGER, '²')}\n", f"Line 2, {INTEGER}: .*integer"),
    (f'{HEADER}\n"{ROW}\n', "can't be read as CSV"),
    (f"{HEADER}\n{ROW}\n".encode("utf-16"), "can't be read as CSV in UTF-8"),
]


@pytest.mark.parametrize(("content", "error"), REFUSED)
def test_a_mistake_is_refused_with_its_line_and_nothing_is_sent(
    content: str | bytes, error: str, tmp_path: Path, sent: list[str]
) -> None:
    source, target = tmp_path / "cases.csv", tmp_path / "answers.csv"
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = source.read_bytes()
    with pytest.raises(UserError, match=error):
        list(client.predict_csv(Settings(home=tmp_path), source, target))
    assert (sent, target.exists(), source.read_bytes()) == ([], False, before)


def test_all_mistakes_are_counted_and_the_first_ten_named(tmp_path: Path, sent: list[str]) -> None:
    source = tmp_path / "cases.csv"
    source.write_text("\n".join([HEADER, ROW, *[changed(INTEGER, "x")] * 12]))
    with pytest.raises(UserError) as caught:
        list(client.predict_csv(Settings(home=tmp_path), source, tmp_path / "answers.csv"))
    lines = str(caught.value).splitlines()
    assert [line.split(",")[0] for line in lines[1:-1]] == [f"Line {n}" for n in range(3, 13)]
    assert lines[-1] == "... and 2 more."


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_byte_order_mark_and_windows_lines_are_accepted(
    mark: str, end: str, tmp_path: Path, sent: list[str], parts: LocalService
) -> None:
    source, target = tmp_path / "cases.csv", tmp_path / "answers.csv"
    padded = changed(INTEGER, f"00{example_request()[INTEGER]}")
    source.write_text(mark + end.join([HEADER, ROW, padded, ""]), encoding="utf-8", newline="")
    assert list(client.predict_csv(Settings(home=tmp_path), source, target)) == [2]
    assert json.loads(sent[0])["requests"] == [example_request()] * 2
    assert len(target.read_text().splitlines()) == 3
    assert send_request(parts, "GET", "/livez").status_code == 200
