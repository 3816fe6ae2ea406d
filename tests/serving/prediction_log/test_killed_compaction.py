"""Compaction loses and doubles no record when it or a writer is killed."""

import signal
import subprocess
from pathlib import Path

import pytest

from serving.prediction_log.compaction import compact_log
from serving.prediction_log.reader import read_predictions
from tests.serving.prediction_log.sample_records import (
    child,
    names,
    numbered_record,
    parquet_rows,
    same,
    write_log,
)
from tests.use_case import USE_CASE

# Compacts copies of a folder. Each run dies one step later, as an audit hook sees them, until one
# finishes. Forks, since a new process would spend its time on imports.
DIES = """
import os, shutil, signal, sys
from pathlib import Path
from serving.prediction_log.compaction import compact_log
from tests.use_case import USE_CASE

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
        compact_log(USE_CASE, folder)
        print(*steps, flush=True)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
sys.exit(status)
"""


@pytest.mark.long
def test_a_compaction_killed_at_any_step_and_repeated_loses_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    made = tmp_path / "made"
    write_log(made, numbered_record(1), numbered_record(2))
    write_log(made, numbered_record(3), numbered_record(1, probability=0.9))
    torn = write_log(made, numbered_record(4), numbered_record(5))
    torn.write_bytes(torn.read_bytes()[:-20])
    write_log(made)
    # A compaction was killed while it wrote this file:
    (made / f".{torn.stem}.parquet.1-0.tmp").write_bytes(b"PAR1 and no more")
    before = read_predictions(USE_CASE, made)
    assert list(before["request_id"]) == ["1", "2", "3", "4"]
    with child(DIES, str(made)) as dying:
        output, _ = dying.communicate()
    assert dying.returncode == 0
    steps = output.split()
    # Four segments, and the folder's lock, taken and released.
    assert (steps.count("os.rename"), steps.count("fcntl.flock")) == (1, 6)
    for last in range(1, len(steps) + 2):
        folder = tmp_path / str(last)
        assert same(read_predictions(USE_CASE, folder), before), steps[:last]
        compact_log(USE_CASE, folder)
        assert same(read_predictions(USE_CASE, folder), before), steps[:last]
        assert names(folder, ".jsonl") == names(folder, ".tmp") == []
        assert parquet_rows(folder) == 4


# Compacts again and again, at the same time as others.
COMPACTS = """
import sys
from pathlib import Path
from serving.prediction_log.compaction import compact_log
from settings import UserError
from tests.use_case import USE_CASE

while True:
    try:
        compact_log(USE_CASE, Path(sys.argv[1]))
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
            writer.stdin.write(f"{numbered_record(0)!r}\n")
            writer.stdin.flush()
        rounds, compacted_before = 0, parquet_rows(tmp_path)
        while rounds < 6:
            rounds += parquet_rows(tmp_path) > compacted_before  # since a compaction ran meanwhile
            for writer in writers:
                assert writer.stdout is not None
                acknowledged += [writer.stdout.readline().strip() for _ in range(300)]
            frame = read_predictions(USE_CASE, tmp_path)
            assert set(acknowledged) <= set(frame["request_id"])
            assert frame.attrs["duplicates"] == 0
        acknowledged += kill([*writers, *compactions])
    compact_log(USE_CASE, tmp_path)
    frame = read_predictions(USE_CASE, tmp_path)
    assert len(acknowledged) >= 7200
    assert set(acknowledged) <= set(frame["request_id"])
    assert frame["request_id"].is_unique
    assert frame.attrs["duplicates"] == 0
    assert names(tmp_path, ".jsonl") == names(tmp_path, ".tmp") == []
    assert parquet_rows(tmp_path) == len(frame)
