"""Compaction loses and doubles no record, through kills and together with readers and writers."""

import fcntl
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving.prediction_log import parquet_files, records, segments
from serving.prediction_log.compaction import compact_log
from serving.prediction_log.reader import read_predictions
from serving.prediction_log.writer import PredictionLog
from settings import LoopError, UserError
from tests.serving.prediction_log.sample_records import (
    NOON,
    child,
    names,
    numbered_record,
    parquet_rows,
    same,
    write_log,
)
from tests.use_case import CATEGORIES, FEATURES, USE_CASE

NOTHING = {"segments": 0, "files": 0, "records": 0, "duplicates": 0, "torn_lines": 0}


def test_the_reader_returns_the_same_before_and_after(tmp_path: Path) -> None:
    first = write_log(
        tmp_path, numbered_record(1), numbered_record(2), numbered_record(1, probability=0.9)
    )
    write_log(tmp_path, numbered_record(4), numbered_record(2, probability=0.9))
    torn = write_log(tmp_path, numbered_record(3), numbered_record(5))
    torn.write_bytes(torn.read_bytes()[:-20])
    write_log(tmp_path)
    before = read_predictions(USE_CASE, tmp_path)
    assert list(before["request_id"]) == ["1", "2", "3", "4"]
    assert list(before["probability"]) == [0.25] * 4
    assert before.attrs == {"torn_lines": 1, "duplicates": 2}

    done = compact_log(USE_CASE, tmp_path)
    assert done == {"segments": 3, "files": 1, "records": 4, "duplicates": 2, "torn_lines": 1}
    assert names(tmp_path, "") == [f"{first.stem}.parquet", "compaction.lock"]
    assert same(read_predictions(USE_CASE, tmp_path), before)
    assert compact_log(USE_CASE, tmp_path) == NOTHING
    assert compact_log(USE_CASE, tmp_path / "nowhere") == NOTHING


def test_a_request_logged_before_and_after_a_compaction_counts_once(tmp_path: Path) -> None:
    write_log(tmp_path, numbered_record(1), numbered_record(2))
    compact_log(USE_CASE, tmp_path)
    again = {"probability": 0.9, "logged_at": NOON + timedelta(days=1)}
    write_log(tmp_path, numbered_record(1, **again), numbered_record(3))
    for _ in range(2):
        frame = read_predictions(USE_CASE, tmp_path)
        assert list(frame["request_id"]) == ["1", "2", "3"]
        assert list(frame["probability"]) == [0.25] * 3
        assert frame.attrs["duplicates"] == 1
        compact_log(USE_CASE, tmp_path)


def test_an_open_segment_stays(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    assert (
        compact_log(USE_CASE, tmp_path) == NOTHING
    )  # an empty one, too: its writer may be about to write
    log.append(numbered_record(1))
    write_log(tmp_path, numbered_record(2))
    assert compact_log(USE_CASE, tmp_path)["records"] == 1
    log.append(numbered_record(3))
    assert names(tmp_path, ".jsonl") == [log.path.name]
    assert list(read_predictions(USE_CASE, tmp_path)["request_id"]) == ["1", "2", "3"]
    log.close()
    assert compact_log(USE_CASE, tmp_path)["records"] == 2
    assert list(read_predictions(USE_CASE, tmp_path)["request_id"]) == ["1", "2", "3"]


def test_a_new_segment_that_is_removed_before_it_is_locked_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, taken = fcntl.flock, []

    def too_late(file: Any, how: int) -> None:
        monkeypatch.undo()
        taken.extend(names(tmp_path, ".jsonl"))
        compact_log(USE_CASE, tmp_path)
        lock(file, how)

    monkeypatch.setattr(segments.fcntl, "flock", too_late)
    log = PredictionLog(tmp_path)
    log.append(numbered_record(1))
    log.close()
    assert len(taken) == 1
    assert names(tmp_path, ".jsonl") == [log.path.name] != taken
    assert list(read_predictions(USE_CASE, tmp_path)["request_id"]) == ["1"]


def test_a_segment_that_is_compacted_during_a_read_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(tmp_path, numbered_record(1))
    write_log(tmp_path, numbered_record(2))
    before, read_bytes = read_predictions(USE_CASE, tmp_path), Path.read_bytes
    read_first: list[str] = []

    def overtaken(path: Path) -> bytes:
        if read_first:
            monkeypatch.undo()
            compact_log(USE_CASE, tmp_path)
        read_first.append(path.name)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", overtaken)
    assert same(read_predictions(USE_CASE, tmp_path), before)
    assert names(tmp_path, ".jsonl") == []


def test_versions_of_the_model_may_differ_in_their_features(tmp_path: Path) -> None:
    write_log(tmp_path, numbered_record(1, features={"amount": None, "code": 17, "old": 1}))
    write_log(tmp_path, numbered_record(2, features={"amount": 2.5, "code": "A", "new": "x"}))
    before = read_predictions(USE_CASE, tmp_path)
    compact_log(USE_CASE, tmp_path)
    write_log(tmp_path, numbered_record(3, features={"amount": 3, "code": 18, "new": None}))
    assert same(read_predictions(USE_CASE, tmp_path, until=NOON + timedelta(hours=3)), before)
    for _ in range(2):
        frame = read_predictions(USE_CASE, tmp_path)
        assert list(frame["features.code"]) == ["17", "A", "18"]  # texts, since the types clash
        assert list(frame["features.amount"].fillna(-1)) == [-1, 2.5, 3]
        assert list(frame["features.new"].fillna("")) == ["", "x", ""]
        assert list(frame["request.due"]) == ["2013-04-01"] * 3
        compact_log(USE_CASE, tmp_path)


def test_columns_have_their_declared_types_whatever_was_logged(tmp_path: Path) -> None:
    """A column of None only, one of whole numbers only, and one of both kinds of numbers."""
    text, number = CATEGORIES[0], [name for name in FEATURES if name not in CATEGORIES]
    for amounts in ((1, 2), (1, 2.5)):
        logged = [{text: None, number[0]: amount, number[1]: None} for amount in amounts]
        write_log(tmp_path, *(numbered_record(n, features=each) for n, each in enumerate(logged)))
        compact_log(USE_CASE, tmp_path)
    for path in tmp_path.glob("*.parquet"):
        schema = pq.read_schema(path)
        assert set(records.empty_table(USE_CASE).schema) <= set(schema)
        assert schema.field(f"features.{text}").type == pa.string()
        assert schema.field(f"features.{number[0]}").type == pa.float64()
        assert schema.field("shadow_ms").type == pa.float64()
        assert schema.field("challenger_error").type == pa.string()
    frame = read_predictions(USE_CASE, tmp_path)
    assert frame[f"features.{number[1]}"].dtype == "float64"
    assert frame[f"features.{number[1]}"].isna().all()
    assert frame[f"features.{text}"].isna().all()


def test_files_whose_types_were_guessed_are_read_beside_declared_ones(tmp_path: Path) -> None:
    """Earlier versions stored whole numbers as such, and columns of None only without a type."""
    text, number = CATEGORIES[0], FEATURES[-1]
    write_log(tmp_path, numbered_record(1, features={text: None, number: 3}))
    compact_log(USE_CASE, tmp_path)
    [(path, summary)] = parquet_files.read_summaries(tmp_path)
    older = pq.read_table(path).drop([f"features.{text}", f"features.{number}", "fallback"])
    guessed = {f"features.{text}": pa.nulls(1), f"features.{number}": pa.array([3])}
    for name, column in guessed.items():
        older = older.append_column(name, column)
    parquet_files.write_parquet_file(path, older, summary)
    write_log(tmp_path, numbered_record(2, features={text: "x", number: 0.5}))
    for _ in range(2):
        frame = read_predictions(USE_CASE, tmp_path)
        assert list(frame[f"features.{number}"]) == [3, 0.5]
        assert list(frame[f"features.{text}"].fillna("")) == ["", "x"]
        compact_log(USE_CASE, tmp_path)


def test_a_segment_of_a_version_with_other_types_is_read(tmp_path: Path) -> None:
    text, number = CATEGORIES[0], FEATURES[-1]
    other = {text: 17, number: "2013-04-01"}
    write_log(tmp_path, numbered_record(1, features=other, request={"note": "2013-04-01"}))
    write_log(tmp_path, numbered_record(2, features={text: "A", number: 0.5}))
    for _ in range(2):
        frame = read_predictions(USE_CASE, tmp_path)
        assert list(frame[f"features.{text}"]) == ["17", "A"]
        assert list(frame[f"features.{number}"]) == ["2013-04-01", "0.5"]
        assert frame["request.note"][0] == "2013-04-01"
        compact_log(USE_CASE, tmp_path)


@pytest.mark.parametrize(
    "line", ["{", '{"request_id": "1"}', json.dumps(numbered_record(1), default=str)]
)
def test_a_segment_with_a_malformed_line_stays_and_is_reported_after_the_others(
    line: str, tmp_path: Path
) -> None:
    """The last line's times are not ISO 8601 with a zone: a character is missing."""
    broken = tmp_path / "20130401T120000.000000Z-host-1.jsonl"
    broken.write_text(line.replace("+00:00", "+00:0") + "\n")
    write_log(tmp_path, numbered_record(2))
    with pytest.raises(LoopError, match=r"1 of 2 segments in .*Z-host-1\.jsonl") as error:
        compact_log(USE_CASE, tmp_path)
    assert "Restore the file" in str(error.value)
    assert names(tmp_path, ".jsonl") == [broken.name]
    assert parquet_rows(tmp_path) == 1
    with pytest.raises(LoopError, match=r"Z-host-1\.jsonl"):
        read_predictions(USE_CASE, tmp_path)
    broken.unlink()
    assert list(read_predictions(USE_CASE, tmp_path)["request_id"]) == ["2"]


def test_segments_with_names_of_earlier_versions_are_read_and_compacted(tmp_path: Path) -> None:
    write_log(tmp_path, numbered_record(1)).rename(tmp_path / "20130401T120000.000000Z-17.jsonl")
    before = read_predictions(USE_CASE, tmp_path)
    assert list(before["request_id"]) == ["1"]
    assert compact_log(USE_CASE, tmp_path)["records"] == 1
    assert same(read_predictions(USE_CASE, tmp_path), before)


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", None])
def test_a_foreign_parquet_file_is_refused(content: bytes | None, tmp_path: Path) -> None:
    target = tmp_path / "20130401T120000.000000Z-host-1.parquet"
    if content is None:
        pd.DataFrame({"x": [1]}).to_parquet(target)
    else:
        target.write_bytes(content)
    segment = write_log(tmp_path, numbered_record(1))
    for reader in (read_predictions, compact_log):
        with pytest.raises(LoopError, match=r"Z-host-1\.parquet can\'t be read"):
            reader(USE_CASE, tmp_path)
    assert segment.exists()


def test_a_full_disk_keeps_the_segments(tmp_path: Path) -> None:
    limited = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from serving.prediction_log.compaction import compact_log\n"
        "from tests.use_case import USE_CASE\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "try:\n    compact_log(USE_CASE, Path(sys.argv[1]))\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    segment = write_log(tmp_path, *map(numbered_record, range(50)))
    before = read_predictions(USE_CASE, tmp_path)
    with child(limited, str(tmp_path)) as process:
        output, _ = process.communicate()
    assert output.startswith("LoopError")
    assert "Free some space" in output
    assert names(tmp_path, "") == [segment.name, "compaction.lock"]
    assert same(read_predictions(USE_CASE, tmp_path), before)
    assert compact_log(USE_CASE, tmp_path)["records"] == 50


def test_a_second_compaction_at_the_same_time_is_refused(tmp_path: Path) -> None:
    write_log(tmp_path, numbered_record(1))
    with (tmp_path / "compaction.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="Another compaction is at work"):
            compact_log(USE_CASE, tmp_path)
        assert parquet_rows(tmp_path) == 0
    assert compact_log(USE_CASE, tmp_path)["records"] == 1
