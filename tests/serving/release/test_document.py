"""The release document is read as written, and refused if it is malformed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from features import durable_files
from serving.release.document import (
    Challenger,
    HistoryHead,
    Release,
    ServedModel,
    document_fields,
    read_release,
    write_release,
)
from serving.release.signatures import sign_json
from settings import LoopError, Settings

CHAMPION = ServedModel(version="7", digest="a" * 64, path="../models/7", threshold=0.2)
NOW = datetime(2013, 4, 1, 12, 30, 1, 250, tzinfo=UTC)
CANARY = Challenger(replace(CHAMPION, version="8", digest="b" * 64), "canary", 12.5, NOW, "trial")
RELEASE = Release(3, CHAMPION, NOW, CANARY, history=HistoryHead(2, "c" * 64))


def signed(home: Path, fields: dict[str, Any]) -> Settings:
    """Return a home whose release file holds these fields, signed by its key."""
    settings = Settings(home=home)
    durable_files.write_file(settings.release_file, sign_json(settings, "release", fields))
    return settings


def test_a_document_is_read_as_written(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    write_release(settings, RELEASE)
    assert read_release(settings) == RELEASE
    write_release(settings, replace(RELEASE, generation=4))
    assert read_release(settings) == replace(RELEASE, generation=4)
    alone = Release(5, CHAMPION, NOW, frozen=True)
    write_release(settings, alone)
    assert read_release(settings) == alone
    files = {file.name: file.read_text() for file in settings.release_file.parent.iterdir()}
    assert set(files) == {"release.json", "release.last-good.json"}
    assert len(set(files.values())) == 1


def test_times_are_utc(tmp_path: Path) -> None:
    local = RELEASE.changed_at.astimezone(timezone(timedelta(hours=-4)))
    write_release(Settings(home=tmp_path), replace(RELEASE, changed_at=local))
    document = read_release(Settings(home=tmp_path))
    assert document is not None
    assert document.changed_at == RELEASE.changed_at
    assert document.changed_at.tzinfo is UTC


def test_no_document_is_no_release(tmp_path: Path) -> None:
    assert read_release(Settings(home=tmp_path)) is None


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
    fields = document_fields(RELEASE)
    for name, value in change.items():
        parent, _, field = name.rpartition(".")
        (fields[parent] if parent else fields)[field] = value
    with pytest.raises(LoopError, match=r"release document .* is malformed"):
        read_release(signed(tmp_path, fields))


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\xff"])
def test_other_files_are_refused(content: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    settings.release_file.parent.mkdir(parents=True)
    settings.release_file.write_text(content, encoding="latin-1")
    with pytest.raises(LoopError, match=r"release document .* is malformed"):
        read_release(settings)


def test_a_document_from_before_challengers_is_read(tmp_path: Path) -> None:
    fields = document_fields(RELEASE)
    old = {name: fields[name] for name in ("generation", "champion", "changed_at")}
    assert read_release(signed(tmp_path, old)) == Release(3, CHAMPION, NOW)


def test_times_without_a_zone_are_refused() -> None:
    with pytest.raises(ValueError, match="timezone"):
        replace(RELEASE, changed_at=datetime(2013, 4, 1))  # noqa: DTZ001
