"""Is the release document read as it was written, and refused when it is not one?"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from serving.release import Release, ServedModel, read, write
from settings import LoopError

CHAMPION = ServedModel(version="7", digest="a" * 64, path="../models/7", threshold=0.2)
RELEASE = Release(3, CHAMPION, datetime(2013, 4, 1, 12, 30, 1, 250, tzinfo=UTC))


def test_reads_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "release" / "release.json"
    write(path, RELEASE)
    assert read(path) == RELEASE
    write(path, replace(RELEASE, generation=4))
    assert read(path) == replace(RELEASE, generation=4)
    assert [file.name for file in path.parent.iterdir()] == ["release.json"]


def test_times_are_utc(tmp_path: Path) -> None:
    local = RELEASE.changed_at.astimezone(timezone(timedelta(hours=-4)))
    write(tmp_path / "release.json", replace(RELEASE, changed_at=local))
    found = read(tmp_path / "release.json")
    assert found is not None
    assert found.changed_at == RELEASE.changed_at
    assert found.changed_at.tzinfo is UTC


def test_no_document_is_no_release(tmp_path: Path) -> None:
    assert read(tmp_path / "release.json") is None


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
    ],
    ids=str,
)
def test_malformed_documents_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "release.json"
    write(path, RELEASE)
    fields = json.loads(path.read_text())
    for name, value in change.items():
        parent, _, field = name.rpartition(".")
        (fields[parent] if parent else fields)[field] = value
    path.write_text(json.dumps(fields))
    with pytest.raises(LoopError, match="release document"):
        read(path)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\xff"])
def test_other_files_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "release.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(LoopError, match="release document"):
        read(path)


def test_times_without_a_zone_are_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        replace(RELEASE, changed_at=datetime(2013, 4, 1))
