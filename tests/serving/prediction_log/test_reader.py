"""The reader returns each logged record once, with its times, from segments and Parquet."""

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from serving.prediction_log.compaction import compact_log
from serving.prediction_log.parquet_files import FileSummary, write_parquet_file
from serving.prediction_log.reader import find_predictions, read_predictions
from serving.prediction_log.records import TIME_COLUMNS, empty_table
from serving.prediction_log.writer import PredictionLog
from settings import LoopError
from tests.serving.prediction_log.sample_records import NOON, numbered_record, record, write_log
from tests.use_case import USE_CASE


def test_the_reader_returns_the_logged_records(tmp_path: Path) -> None:
    nan = {"region": None, "amount": float("nan"), "age": float("inf")}
    write_log(tmp_path, record("1"), record("2", features=nan, features_as_of=None))
    frame = read_predictions(USE_CASE, tmp_path)

    assert list(frame["request_id"]) == ["1", "2"]
    assert list(frame["decision"]) == [True, True]
    assert list(frame["request.due"]) == ["2013-04-01T14:00:00+02:00"] * 2
    assert frame["features.amount"][0] == 1.0
    assert frame.loc[1, ["features.region", "features.amount", "features.age"]].isna().all()
    assert {str(frame[column].dtype) for column in TIME_COLUMNS} == {"datetime64[us, UTC]"}
    assert frame["logged_at"][0] == NOON + timedelta(microseconds=1)
    assert pd.isna(frame["features_as_of"][1])
    assert frame.attrs == {"torn_lines": 0, "duplicates": 0}


def test_no_log_is_an_empty_frame(tmp_path: Path) -> None:
    PredictionLog(tmp_path).close()
    for folder in (tmp_path, tmp_path / "nowhere"):
        frame = read_predictions(USE_CASE, folder)
        assert list(frame.columns) == empty_table(USE_CASE).column_names
        assert len(frame) == 0
        assert str(frame["logged_at"].dtype) == "datetime64[us, UTC]"


def test_first_record_of_a_request_counts(tmp_path: Path) -> None:
    write_log(tmp_path, record("1", probability=0.1), record("2"), record("1", probability=0.9))
    write_log(tmp_path, record("2", probability=0.9), record("3"))
    frame = read_predictions(USE_CASE, tmp_path)
    assert list(frame["request_id"]) == ["1", "2", "3"]
    assert list(frame["probability"]) == [0.1, 0.25, 0.25]
    assert frame.attrs["duplicates"] == 2


def test_segments_may_differ_in_their_features(tmp_path: Path) -> None:
    write_log(tmp_path, record("1", features={"amount": None}, request={"note": "2013-04-01"}))
    write_log(tmp_path, record("2", features={"amount": 2.5, "new": "x"}, request={"note": "text"}))
    frame = read_predictions(USE_CASE, tmp_path)
    assert list(frame["features.new"].fillna("")) == ["", "x"]
    assert list(frame["features.amount"].fillna(-1)) == [-1, 2.5]
    assert list(frame["request.note"]) == ["2013-04-01", "text"]


def test_texts_that_look_like_times_stay_texts(tmp_path: Path) -> None:
    """The first megabyte has no notes, and the rest only notes that look like times."""
    filler = "x" * 100_000
    early = [record(str(n), request={"note": None, "filler": filler}) for n in range(12)]
    late = [record(str(n), request={"note": "2013-04-01", "filler": ""}) for n in range(12, 15)]
    write_log(tmp_path, *early, *late)
    notes = read_predictions(USE_CASE, tmp_path)["request.note"]
    assert list(notes[:12].isna()) == [True] * 12
    assert list(notes[12:]) == ["2013-04-01"] * 3


def test_torn_last_line_is_left_out_and_counted(tmp_path: Path) -> None:
    path = write_log(tmp_path, record("1"), record("2"))
    path.write_bytes(path.read_bytes()[:-20])
    frame = read_predictions(USE_CASE, tmp_path)
    assert list(frame["request_id"]) == ["1"]
    assert frame.attrs["torn_lines"] == 1


@pytest.mark.parametrize("line", ["{", "[]", '"text"', '{"request_id": "1"}'])
def test_a_whole_line_that_is_not_a_record_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "20130401T120000.000000Z-1.jsonl").write_text(line + "\n")
    with pytest.raises(LoopError, match=r"Z-1\.jsonl"):
        read_predictions(USE_CASE, tmp_path)


@pytest.mark.parametrize(
    ("since", "until"),
    [(None, None), (0, 24), (5, 6), (None, 30), (30, None), (29.5, 60), (-9, 0), (90, 99), (9, 9)],
)
def test_a_range_of_decision_times_equals_the_filtered_whole(
    since: float | None, until: float | None, tmp_path: Path
) -> None:
    """Three files, each of a version with its own feature, and segments with retries."""
    for day in range(4):
        numbers = range(24 * day, 24 * day + 24)
        write_log(
            tmp_path,
            *(numbered_record(n, features={f"of_{day}": n, "amount": 1.0}) for n in numbers),
        )
        if day < 3:
            compact_log(USE_CASE, tmp_path)
    late = {"logged_at": NOON + timedelta(days=9), "probability": 0.9}
    write_log(tmp_path, numbered_record(5, **late), numbered_record(80, **late))
    start, end = (
        None if hours is None else NOON + timedelta(hours=hours) for hours in (since, until)
    )
    whole, part = (
        read_predictions(USE_CASE, tmp_path),
        read_predictions(USE_CASE, tmp_path, since=start, until=end),
    )
    assert len(whole) == 96
    times = whole["decision_time"]
    expected = whole[(times >= (start or NOON)) & (times < (end or NOON + timedelta(days=99)))]
    assert list(part["request_id"]) == list(expected["request_id"])
    assert expected.drop(columns=part.columns).isna().all(axis=None)
    pd.testing.assert_frame_equal(
        part, expected[part.columns].reset_index(drop=True), check_dtype=False
    )


def test_records_without_an_identity_have_their_request_id(tmp_path: Path) -> None:
    """Lines and files of an older version stay readable, and clients can report their outcomes."""
    path = write_log(tmp_path, record("1"), record("1"))
    old = pa.table(read_predictions(USE_CASE, tmp_path)).drop_columns(
        ["prediction_id", "client", "route"]
    )
    write_parquet_file(tmp_path / "old.parquet", old, FileSummary([path.name], 0, 1))
    path.unlink()
    later = NOON + timedelta(minutes=1)
    named = record("3", prediction_id="f" * 32, client="me", logged_at=later + timedelta(minutes=1))
    write_log(tmp_path, record("2", logged_at=later), named)
    frame = read_predictions(USE_CASE, tmp_path)
    assert frame["prediction_id"].tolist() == ["1", "2", "f" * 32]
    assert frame["client"].isna().tolist() == [True, True, False]
    for identity in ("1", "2", "f" * 32):
        [found] = find_predictions(tmp_path, "prediction_id", identity)
        assert found["prediction_id"] == identity
        assert found["decision_time"] == NOON
    assert find_predictions(tmp_path, "prediction_id", "3") == []
    assert [each["client"] for each in find_predictions(tmp_path, "request_id", "3")] == ["me"]
    assert compact_log(USE_CASE, tmp_path)["records"] == 2
    pd.testing.assert_frame_equal(read_predictions(USE_CASE, tmp_path), frame, check_like=True)
