"""The log keeps every acknowledged record through kills, full disks and failed syncs."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.prediction_log.reader import read_predictions
from serving.prediction_log.writer import PredictionLog
from settings import LoopError
from tests.serving.prediction_log.sample_records import ROOT, record, wait_until
from tests.use_case import USE_CASE

# Logs records as fast as it can, and acknowledges each over the pipe.
CHILD = """
import sys
from pathlib import Path
from serving.prediction_log.writer import PredictionLog

log = PredictionLog(Path(sys.argv[1]))
record = eval(sys.stdin.readline(), {"datetime": __import__("datetime")})
number = 0
while True:
    number += 1
    log.append(record | {"request_id": f"{sys.argv[2]}-{number}"})
    sys.stdout.write(f"{sys.argv[2]}-{number}\\n")
    sys.stdout.flush()
"""


def test_nothing_acknowledged_is_lost_to_kill_9(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    for life in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), str(life)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(repr(record("")) + "\n")
        child.stdin.flush()
        acknowledged += [child.stdout.readline().strip() for _ in range(500)]
        child.send_signal(signal.SIGKILL)
        # Lines in the pipe count; a last line that the kill cut does not.
        acknowledged += child.stdout.read().rpartition("\n")[0].split("\n")
        child.stdin.close()
        child.stdout.close()
        assert child.wait() == -signal.SIGKILL
    frame = read_predictions(USE_CASE, tmp_path)
    assert len(acknowledged) > 1500
    assert set(acknowledged) - {""} <= set(frame["request_id"])
    assert frame.attrs["duplicates"] == 0
    assert len(list(tmp_path.glob("*.jsonl"))) == 3


# The disk is full after some records. Further ones must be refused and leave no trace.
FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from serving.prediction_log.writer import PredictionLog
from settings import LoopError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = PredictionLog(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
record = eval(sys.stdin.readline(), {"datetime": __import__("datetime")})
for number in range(10):
    try:
        log.append(record | {"request_id": str(number)})
        print(number)
    except LoopError as error:
        assert "Free some space" in str(error), error
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.append(record | {"request_id": "after"})
print("after")
log.close()
"""


def test_full_disk_refuses_and_leaves_no_half_record(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], cwd=ROOT,
        input=repr(record("")) + "\n", capture_output=True, text=True, check=True,
    )  # fmt: skip
    acknowledged = done.stdout.split()
    frame = read_predictions(USE_CASE, tmp_path)
    assert 2 < len(acknowledged) < 8
    assert list(frame["request_id"]) == acknowledged
    assert frame.attrs["torn_lines"] == 0


def test_a_full_file_system_refuses_and_leaves_no_half_record(tmp_path: Path) -> None:
    """The file system has room for some records, and for more once a file is removed."""
    mounted = tmp_path / "small"
    mounted.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mounted)], check=False,
        capture_output=True,
    ).returncode:  # fmt: skip
        pytest.skip("only root may mount; the test with a limited file size covers this")
    try:
        (mounted / "filler").write_bytes(b"x" * 40_000)
        log = PredictionLog(mounted)
        acknowledged: list[str] = []
        refused: list[str] = []
        for number in range(80):
            try:
                log.append(record(str(number)))
                acknowledged.append(str(number))
            except LoopError as error:
                refused.append(str(error))
        assert len(refused) == 80 - len(acknowledged)
        assert all("Free some space" in each for each in refused)
        assert 10 < len(acknowledged) < 70
        (mounted / "filler").unlink()
        log.append(record("after"))
        log.close()
        frame = read_predictions(USE_CASE, mounted)
    finally:
        subprocess.run(["umount", str(mounted)], check=True)
    assert list(frame["request_id"]) == [*acknowledged, "after"]
    assert frame.attrs["torn_lines"] == 0


def test_if_no_new_segment_can_be_created_the_old_one_grows_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "log"
    log = PredictionLog(folder, sync_every=0.002, max_size=1)
    folder.rename(tmp_path / "moved")
    folder.touch()  # no folder can be made there
    log.append(record("1"))
    wait_until(lambda: "grows on" in caplog.text)
    log.append(record("2"))
    time.sleep(0.05)
    log.close()
    assert list(read_predictions(USE_CASE, tmp_path / "moved")["request_id"]) == ["1", "2"]
    assert caplog.text.count("grows on") == 1


def test_after_a_failed_sync_the_log_refuses_records_with_the_reason(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, sync_every=0.002)
    log.append(record("1"))
    assert log.failure is None
    unsyncable, other_end = os.pipe()[::-1]
    os.dup2(unsyncable, log._file)  # accepts writes, but can't be synced
    log.append(record("2"))
    wait_until(lambda: log.failure is not None)
    assert f"{log.path} could not be synced" in str(log.failure)
    with pytest.raises(LoopError, match=r"could not be synced .* restart the service"):
        log.append(record("3"))
    with pytest.raises(LoopError, match="was not synced"):
        log.close()
    os.close(unsyncable)
    os.close(other_end)


def test_a_segment_that_cannot_be_closed_fails_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a network, closing a file may report a failed write."""
    log = PredictionLog(tmp_path, sync_every=0.005, max_size=1)
    file = log._file
    close = os.close

    def fail(number: int) -> None:
        if number == file:
            raise OSError("Input/output error")
        close(number)

    monkeypatch.setattr(os, "close", fail)
    log.append(record("a"))
    wait_until(lambda: log.failure is not None)
    with pytest.raises(LoopError, match="Input/output error"):
        log.append(record("b"))
    monkeypatch.undo()
    close(file)
    with pytest.raises(LoopError):
        log.close()


def remove(folder: Path) -> None:
    for segment in folder.glob("*.jsonl"):
        segment.unlink()


def rename(folder: Path) -> None:
    for segment in folder.glob("*.jsonl"):
        segment.rename(f"{segment}.1")


def replace(folder: Path) -> None:
    for segment in folder.glob("*.jsonl"):
        other = segment.with_suffix(".new")
        other.touch()
        other.rename(segment)


@pytest.mark.parametrize("clean_up", [remove, rename, replace, shutil.rmtree])
def test_what_a_clean_up_by_another_program_removes_is_written_again(
    clean_up: Callable[[Path], object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "log"
    log = PredictionLog(folder, sync_every=0.002)
    log.append(record("1"))
    clean_up(folder)
    log.append(record("2"))
    wait_until(lambda: "Its records are now in" in caplog.text)
    log.append(record("3"))
    log.close()
    frame = read_predictions(USE_CASE, folder)
    assert (list(frame["request_id"]), frame.attrs["torn_lines"]) == (["1", "2", "3"], 0)


def test_a_log_cut_short_by_another_program_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = PredictionLog(tmp_path, sync_every=0.002)
    log.append(record("1"))
    os.truncate(log.path, 0)  # as logrotate's copytruncate does
    wait_until(lambda: "These records are lost" in caplog.text)
    log.append(record("2"))
    log.close()
    assert log.path.read_bytes().count(b"\0") == 0
    assert list(read_predictions(USE_CASE, tmp_path)["request_id"]) == ["2"]
