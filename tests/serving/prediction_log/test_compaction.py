"""Compaction loses and doubles no record, through kills and together with readers and writers."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from serving.prediction_log import segments
from serving.prediction_log.compaction import compact_log
from serving.prediction_log.reader import read_predictions
from serving.prediction_log.writer import PredictionLog
from settings import LoopError, UserError

ROOT = Path(__file__).parents[3]
NOON = datetime(2013, 4, 1, 12, tzinfo=UTC)
NOTHING = {"segments": 0, "files": 0, "records": 0, "duplicates": 0, "torn_lines": 0}


def record(number: int, **changes: Any) -> dict[str, Any]:
    """Return a record decided `number` hours after `NOON`, logged `number` minutes after it."""
    return {
        "request_id": str(number), "key": f"case-{number}", "probability": 0.25, "decision": True,
        "model_version": "7", "model_digest": "a" * 64,
        "decision_time": NOON + timedelta(hours=number), "features_as_of": None,
        "logged_at": NOON + timedelta(minutes=number, microseconds=number % 2),
        "request": {"due": "2013-04-01"}, "features": {"amount": 1.0 * number, "age": None},
    } | changes  # fmt: skip


def write(folder: Path, *records: dict[str, Any]) -> Path:
    log = PredictionLog(folder)
    for one in records:
        log.append(one)
    log.close()
    return log.path


def names(folder: Path, suffix: str) -> list[str]:
    return sorted(path.name for path in folder.glob(f"*{suffix}"))


def rows(folder: Path) -> int:
    """Count the rows of the Parquet files, duplicates included."""
    return sum(pq.read_metadata(path).num_rows for path in folder.glob("*.parquet"))


def same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    pd.testing.assert_frame_equal(one, other, check_like=True)
    return one.attrs == other.attrs


def test_the_reader_returns_the_same_before_and_after(tmp_path: Path) -> None:
    first = write(tmp_path, record(1), record(2), record(1, probability=0.9))
    write(tmp_path, record(4), record(2, probability=0.9))
    torn = write(tmp_path, record(3), record(5))
    torn.write_bytes(torn.read_bytes()[:-20])
    write(tmp_path)
    before = read_predictions(tmp_path)
    assert list(before["request_id"]) == ["1", "2", "3", "4"]
    assert list(before["probability"]) == [0.25] * 4
    assert before.attrs == {"torn_lines": 1, "duplicates": 2}

    done = compact_log(tmp_path)
    assert done == {"segments": 3, "files": 1, "records": 4, "duplicates": 2, "torn_lines": 1}
    assert names(tmp_path, "") == [f"{first.stem}.parquet", "compaction.lock"]
    assert same(read_predictions(tmp_path), before)
    assert compact_log(tmp_path) == NOTHING
    assert compact_log(tmp_path / "nowhere") == NOTHING


def test_a_request_logged_before_and_after_a_compaction_counts_once(tmp_path: Path) -> None:
    write(tmp_path, record(1), record(2))
    compact_log(tmp_path)
    again = {"probability": 0.9, "logged_at": NOON + timedelta(days=1)}
    write(tmp_path, record(1, **again), record(3))
    for _ in range(2):
        frame = read_predictions(tmp_path)
        assert list(frame["request_id"]) == ["1", "2", "3"]
        assert list(frame["probability"]) == [0.25] * 3
        assert frame.attrs["duplicates"] == 1
        compact_log(tmp_path)


def test_an_open_segment_stays(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    assert compact_log(tmp_path) == NOTHING  # an empty one, too: its writer may be about to write
    log.append(record(1))
    write(tmp_path, record(2))
    assert compact_log(tmp_path)["records"] == 1
    log.append(record(3))
    assert names(tmp_path, ".jsonl") == [log.path.name]
    assert list(read_predictions(tmp_path)["request_id"]) == ["1", "2", "3"]
    log.close()
    assert compact_log(tmp_path)["records"] == 2
    assert list(read_predictions(tmp_path)["request_id"]) == ["1", "2", "3"]


def test_a_new_segment_that_is_removed_before_it_is_locked_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, taken = fcntl.flock, []

    def too_late(file: Any, how: int) -> None:
        monkeypatch.undo()
        taken.extend(names(tmp_path, ".jsonl"))
        compact_log(tmp_path)
        lock(file, how)

    monkeypatch.setattr(segments.fcntl, "flock", too_late)
    log = PredictionLog(tmp_path)
    log.append(record(1))
    log.close()
    assert len(taken) == 1
    assert names(tmp_path, ".jsonl") == [log.path.name] != taken
    assert list(read_predictions(tmp_path)["request_id"]) == ["1"]


def test_a_segment_that_is_compacted_during_a_read_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, record(1))
    write(tmp_path, record(2))
    before, read_bytes = read_predictions(tmp_path), Path.read_bytes
    read_first: list[str] = []

    def overtaken(path: Path) -> bytes:
        if read_first:
            monkeypatch.undo()
            compact_log(tmp_path)
        read_first.append(path.name)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", overtaken)
    assert same(read_predictions(tmp_path), before)
    assert names(tmp_path, ".jsonl") == []


def test_versions_of_the_model_may_differ_in_their_features(tmp_path: Path) -> None:
    write(tmp_path, record(1, features={"amount": None, "code": 17, "old": 1}))
    write(tmp_path, record(2, features={"amount": 2.5, "code": "A", "new": "x"}))
    before = read_predictions(tmp_path)
    compact_log(tmp_path)
    write(tmp_path, record(3, features={"amount": 3, "code": 18, "new": None}))
    assert same(read_predictions(tmp_path, until=NOON + timedelta(hours=3)), before)
    for _ in range(2):
        frame = read_predictions(tmp_path)
        assert list(frame["features.code"]) == ["17", "A", "18"]  # texts, since the types clash
        assert list(frame["features.amount"].fillna(-1)) == [-1, 2.5, 3]
        assert list(frame["features.new"].fillna("")) == ["", "x", ""]
        assert list(frame["request.due"]) == ["2013-04-01"] * 3
        compact_log(tmp_path)


@pytest.mark.parametrize("line", ["{", '{"request_id": "1"}', json.dumps(record(1), default=str)])
def test_a_segment_with_a_malformed_line_stays_and_is_reported_after_the_others(
    line: str, tmp_path: Path
) -> None:
    """The last line's times are not ISO 8601 with a zone: a character is missing."""
    broken = tmp_path / "20130401T120000.000000Z-host-1.jsonl"
    broken.write_text(line.replace("+00:00", "+00:0") + "\n")
    write(tmp_path, record(2))
    with pytest.raises(LoopError, match=r"1 of 2 segments in .*Z-host-1\.jsonl") as error:
        compact_log(tmp_path)
    assert "Restore the file" in str(error.value)
    assert names(tmp_path, ".jsonl") == [broken.name]
    assert rows(tmp_path) == 1
    with pytest.raises(LoopError, match=r"Z-host-1\.jsonl"):
        read_predictions(tmp_path)
    broken.unlink()
    assert list(read_predictions(tmp_path)["request_id"]) == ["2"]


def test_segments_with_names_of_earlier_versions_are_read_and_compacted(tmp_path: Path) -> None:
    write(tmp_path, record(1)).rename(tmp_path / "20130401T120000.000000Z-17.jsonl")
    before = read_predictions(tmp_path)
    assert list(before["request_id"]) == ["1"]
    assert compact_log(tmp_path)["records"] == 1
    assert same(read_predictions(tmp_path), before)


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", None])
def test_a_foreign_parquet_file_is_refused(content: bytes | None, tmp_path: Path) -> None:
    target = tmp_path / "20130401T120000.000000Z-host-1.parquet"
    if content is None:
        pd.DataFrame({"x": [1]}).to_parquet(target)
    else:
        target.write_bytes(content)
    segment = write(tmp_path, record(1))
    for reader in (read_predictions, compact_log):
        with pytest.raises(LoopError, match=r"Z-host-1\.parquet can\'t be read"):
            reader(tmp_path)
    assert segment.exists()


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
        write(tmp_path, *(record(n, features={f"of_{day}": n, "amount": 1.0}) for n in numbers))
        if day < 3:
            compact_log(tmp_path)
    late = {"logged_at": NOON + timedelta(days=9), "probability": 0.9}
    write(tmp_path, record(5, **late), record(80, **late))
    start, end = (
        None if hours is None else NOON + timedelta(hours=hours) for hours in (since, until)
    )
    whole, part = read_predictions(tmp_path), read_predictions(tmp_path, since=start, until=end)
    assert len(whole) == 96
    times = whole["decision_time"]
    expected = whole[(times >= (start or NOON)) & (times < (end or NOON + timedelta(days=99)))]
    assert list(part["request_id"]) == list(expected["request_id"])
    assert expected.drop(columns=part.columns).isna().all(axis=None)
    pd.testing.assert_frame_equal(
        part, expected[part.columns].reset_index(drop=True), check_dtype=False
    )


# Compacts copies of a folder. Each run dies one step later, as an audit hook sees them, until one
# finishes. Forks, since a new process would spend its time on imports.
DIES = """
import os, shutil, signal, sys
from pathlib import Path
from serving.prediction_log.compaction import compact_log

def step(event, args):
    if event in ("open", "os.rename", "os.remove", "fcntl.flock"):
        if event == "fcntl.flock" or str(folder) in str(args[0]):
            steps.append(event)
            if len(steps) == last:
                os.kill(os.getpid(), signal.SIGKILL)

made, last, status = Path(sys.argv[1]), 0, signal.SIGKILL
while status == signal.SIGKILL:
    last, steps = last + 1, []
    folder = made.with_name(f"{last}")
    shutil.copytree(made, folder)
    child = os.fork()
    if not child:
        sys.addaudithook(step)
        compact_log(folder)
        print(*steps, flush=True)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
sys.exit(status)
"""


def child(code: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options,
    )  # fmt: skip


@pytest.mark.long
def test_a_compaction_killed_at_any_step_and_repeated_loses_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    made = tmp_path / "made"
    write(made, record(1), record(2))
    write(made, record(3), record(1, probability=0.9))
    torn = write(made, record(4), record(5))
    torn.write_bytes(torn.read_bytes()[:-20])
    write(made)
    # A compaction was killed while it wrote this file:
    (made / f".{torn.stem}.parquet.1-0.tmp").write_bytes(b"PAR1 and no more")
    before = read_predictions(made)
    assert list(before["request_id"]) == ["1", "2", "3", "4"]
    with child(DIES, str(made)) as dying:
        output, _ = dying.communicate()
    assert dying.returncode == 0
    steps = output.split()
    # Four segments, and the folder's lock, taken and released.
    assert (steps.count("os.rename"), steps.count("fcntl.flock")) == (1, 6)
    for last in range(1, len(steps) + 2):
        folder = tmp_path / str(last)
        assert same(read_predictions(folder), before), steps[:last]
        compact_log(folder)
        assert same(read_predictions(folder), before), steps[:last]
        assert names(folder, ".jsonl") == names(folder, ".tmp") == []
        assert rows(folder) == 4


def test_a_full_disk_keeps_the_segments(tmp_path: Path) -> None:
    limited = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from serving.prediction_log.compaction import compact_log\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "try:\n    compact_log(Path(sys.argv[1]))\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    segment = write(tmp_path, *map(record, range(50)))
    before = read_predictions(tmp_path)
    with child(limited, str(tmp_path)) as process:
        output, _ = process.communicate()
    assert output.startswith("LoopError")
    assert "Free some space" in output
    assert names(tmp_path, "") == [segment.name, "compaction.lock"]
    assert same(read_predictions(tmp_path), before)
    assert compact_log(tmp_path)["records"] == 50


def test_a_second_compaction_at_the_same_time_is_refused(tmp_path: Path) -> None:
    write(tmp_path, record(1))
    with (tmp_path / "compaction.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="Another compaction is at work"):
            compact_log(tmp_path)
        assert rows(tmp_path) == 0
    assert compact_log(tmp_path)["records"] == 1


# Compacts again and again, at the same time as others.
COMPACTS = """
import sys
from pathlib import Path
from serving.prediction_log.compaction import compact_log
from settings import UserError

while True:
    try:
        compact_log(Path(sys.argv[1]))
    except UserError:
        pass
"""
# Logs into small segments as fast as it can, and acknowledges each record.
WRITES = """
import datetime, sys
from pathlib import Path
from serving.prediction_log.writer import PredictionLog

record = eval(sys.stdin.readline(), {"datetime": datetime})
log = PredictionLog(Path(sys.argv[1]), sync_every=0.005, max_size=20_000)
number = 0
while True:
    number += 1
    log.append(record | {"request_id": f"{sys.argv[2]}-{number}"})
    print(f"{sys.argv[2]}-{number}", flush=True)
"""


def kill(processes: list[subprocess.Popen[str]]) -> list[str]:
    """Kill them; return acknowledgements not read yet, without a line that the kill cut."""
    acknowledged = []
    for process in processes:
        process.send_signal(signal.SIGKILL)
    for process in processes:
        with process:
            assert process.stdout is not None
            acknowledged += process.stdout.read().rpartition("\n")[0].splitlines()
        assert process.returncode == -signal.SIGKILL
    return acknowledged


@pytest.mark.long
@pytest.mark.parametrize("n_compactions", [1, 2])
def test_every_acknowledged_record_is_read_once_while_writers_and_compactions_are_killed(
    n_compactions: int, tmp_path: Path
) -> None:
    acknowledged: list[str] = []
    for life in range(2):
        compactions = [child(COMPACTS, str(tmp_path)) for _ in range(n_compactions)]
        writers = [child(WRITES, str(tmp_path), f"{life}-{number}") for number in range(2)]
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write(f"{record(0)!r}\n")
            writer.stdin.flush()
        rounds, compacted_before = 0, rows(tmp_path)
        while rounds < 6:
            rounds += rows(tmp_path) > compacted_before  # since a compaction ran meanwhile
            for writer in writers:
                assert writer.stdout is not None
                acknowledged += [writer.stdout.readline().strip() for _ in range(300)]
            frame = read_predictions(tmp_path)
            assert set(acknowledged) <= set(frame["request_id"])
            assert frame.attrs["duplicates"] == 0
        acknowledged += kill([*writers, *compactions])
    compact_log(tmp_path)
    frame = read_predictions(tmp_path)
    assert len(acknowledged) >= 7200
    assert set(acknowledged) <= set(frame["request_id"])
    assert frame["request_id"].is_unique
    assert frame.attrs["duplicates"] == 0
    assert names(tmp_path, ".jsonl") == names(tmp_path, ".tmp") == []
    assert rows(tmp_path) == len(frame)
