"""The release document is read as written, and refused if it is malformed."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from serving.release.document import (
    Challenger,
    HistoryHead,
    Release,
    ServedModel,
    read_release,
    write_release,
)
from settings import LoopError

CHAMPION = ServedModel(version="7", digest="a" * 64, path="../models/7", threshold=0.2)
NOW = datetime(2013, 4, 1, 12, 30, 1, 250, tzinfo=UTC)
CANARY = Challenger(replace(CHAMPION, version="8", digest="b" * 64), "canary", 12.5, NOW, "trial")
RELEASE = Release(3, CHAMPION, NOW, CANARY, history=HistoryHead(2, "c" * 64))


def test_a_document_is_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "release" / "release.json"
    write_release(path, RELEASE)
    assert read_release(path) == RELEASE
    write_release(path, replace(RELEASE, generation=4))
    assert read_release(path) == replace(RELEASE, generation=4)
    alone = Release(5, CHAMPION, NOW, frozen=True)
    write_release(path, alone)
    assert read_release(path) == alone
    assert [file.name for file in path.parent.iterdir()] == ["release.json"]


def test_times_are_utc(tmp_path: Path) -> None:
    local = RELEASE.changed_at.astimezone(timezone(timedelta(hours=-4)))
    write_release(tmp_path / "release.json", replace(RELEASE, changed_at=local))
    document = read_release(tmp_path / "release.json")
    assert document is not None
    assert document.changed_at == RELEASE.changed_at
    assert document.changed_at.tzinfo is UTC


def test_no_document_is_no_release(tmp_path: Path) -> None:
    assert read_release(tmp_path / "release.json") is None


@pytest.mark.parametrize(
    "change",
    [
        {"generation": 0},
        {"generation": "3"},
        {"generation": True},
        {"changed_at": "2013-04-01T12:30:00"},
        {"changed_at": "yesterday"},
        {"changed_at": None},
        {"champion": None},
        {"champion": {"version": "7"}},
        {"canary": {}},
        {"champion.version": ""},
        {"champion.digest": "a" * 63},
        {"champion.digest": None},
        {"champion.path": ""},
        {"champion.threshold": 1.5},
        {"champion.threshold": "0.2"},
        {"champion.threshold": float("nan")},
        {"champion.threshold": True},
        {"champion.weight": 1},
        {"challenger.percent": 0},
        {"challenger.percent": -1},
        {"challenger.percent": 100.5},
        {"challenger.percent": "12"},
        {"challenger.percent": float("nan")},
        {"challenger.percent": True},
        {"challenger.stage": "shadow"},
        {"challenger.stage": "mirror"},
        {"challenger.stage": None},
        {"challenger.since": "2013-04-01T12:30:00"},
        {"challenger.name": ""},
        {"challenger.model": None},
        {"challenger.model": {"version": "8"}},
        {"challenger.weight": 1},
        {"challenger": []},
        {"challenger": "8"},
        {"champion.version": "8"},
        {"frozen": True},
        {"frozen": 1},
        {"frozen": None},
        {"history.count": -1},
        {"history.count": 0},
        {"history.count": "2"},
        {"history.head": "0" * 64},
        {"history.head": "c"},
        {"history.tail": 1},
        {"history": None},
    ],
    ids=str,
)
def test_malformed_documents_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "release.json"
    write_release(path, RELEASE)
    fields = json.loads(path.read_text())
    for name, value in change.items():
        parent, _, field = name.rpartition(".")
        (fields[parent] if parent else fields)[field] = value
    path.write_text(json.dumps(fields))
    with pytest.raises(LoopError, match="release document"):
        read_release(path)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\xff"])
def test_other_files_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "release.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(LoopError, match="release document"):
        read_release(path)


def test_a_document_from_before_challengers_is_read(tmp_path: Path) -> None:
    path = tmp_path / "release.json"
    write_release(path, RELEASE)
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({n: fields[n] for n in ("generation", "champion", "changed_at")}))
    assert read_release(path) == Release(3, CHAMPION, NOW)


def test_times_without_a_zone_are_refused() -> None:
    with pytest.raises(ValueError, match="timezone"):
        replace(RELEASE, changed_at=datetime(2013, 4, 1))  # noqa: DTZ001
