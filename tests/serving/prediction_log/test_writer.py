"""The log writes each record as one line, into segments that rotate by size and age."""

import json
import os
import socket
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from serving.prediction_log.compaction import compact_log
from serving.prediction_log.reader import read_predictions
from serving.prediction_log.writer import PredictionLog
from settings import LoopError
from tests.serving.prediction_log.sample_records import record, wait_until, write_log
from tests.use_case import USE_CASE


def test_a_closed_log_takes_no_records(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    log.close()
    log.close()
    with pytest.raises(LoopError, match="closed"):
        log.append(record("1"))


def test_threads_share_a_log(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, sync_every=0.001)

    def append(name: int) -> None:
        for number in range(200):
            log.append(record(f"{name}-{number}"))

    threads = [threading.Thread(target=append, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert read_predictions(USE_CASE, tmp_path)["request_id"].nunique() == 800


def test_a_record_is_one_line_on_the_disk_when_append_returns(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, sync_every=60)
    log.append(record("1", key="with\nnewline"))
    [line] = log.path.read_text().splitlines()
    assert json.loads(line)["key"] == "with\nnewline"
    assert f"-{os.getpid()}.jsonl" in log.path.name
    log.close()


def test_names_tell_replicas_apart_that_share_a_pid(tmp_path: Path) -> None:
    path = write_log(tmp_path, record("1"))
    started, _, writer = path.stem.partition("-")
    assert writer == f"{socket.gethostname()}-{os.getpid()}"
    assert abs(datetime.now(UTC) - datetime.fromisoformat(started)) < timedelta(minutes=1)


@pytest.mark.parametrize("limit", [{"max_size": 1}, {"max_age": 0.02}])
def test_a_large_or_old_segment_is_closed_and_another_one_begun(
    limit: dict[str, Any], tmp_path: Path
) -> None:
    log = PredictionLog(tmp_path, sync_every=0.002, **limit)
    paths = []
    for number in range(3):
        paths.append(log.path)
        log.append(record(str(number)))
        wait_until(lambda: log.path != paths[-1])
        wait_until(lambda: compact_log(USE_CASE, tmp_path)["records"] == 1)  # the old one is closed
    assert log.path.exists()
    time.sleep(0.1)  # many times the age: an empty one is not rotated
    assert [path.name for path in tmp_path.glob("*.jsonl")] == [log.path.name]
    assert list(read_predictions(USE_CASE, tmp_path)["request_id"]) == ["0", "1", "2"]
    log.close()


def test_within_its_limits_a_segment_is_kept(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, sync_every=0.002)
    for number in range(20):
        log.append(record(str(number)))
        time.sleep(0.003)
    log.close()
    assert len(list(tmp_path.iterdir())) == 1


def test_the_log_is_for_its_owner_and_its_group_alone(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir(mode=0o755)  # as earlier versions made it
    log = PredictionLog(folder)
    log.append(record("1"))
    log.close()
    [segment] = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o2750
    assert stat.S_IMODE(segment.stat().st_mode) & 0o027 == 0
    assert segment.stat().st_gid == folder.stat().st_gid


def test_threads_lose_nothing_to_rotation(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, sync_every=0.001, max_size=10_000)
    rotated = threading.Event()

    def append(name: int) -> list[str]:
        ids = []
        while not rotated.is_set():
            ids.append(f"{name}-{len(ids)}")
            log.append(record(ids[-1]))
        return ids

    with ThreadPoolExecutor(4) as pool:
        logged = pool.map(append, range(4))
        try:
            wait_until(lambda: len(list(tmp_path.glob("*.jsonl"))) > 4)
        finally:
            rotated.set()
        acknowledged = sorted(one for ids in logged for one in ids)
    log.close()
    frame = read_predictions(USE_CASE, tmp_path)
    assert sorted(frame["request_id"]) == acknowledged
    assert frame.attrs == {"torn_lines": 0, "duplicates": 0}


def test_appending_is_cheap(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    one = record("1")
    started = time.perf_counter()
    for _ in range(2000):
        log.append(one)
    took = (time.perf_counter() - started) / 2000
    log.close()
    assert took < 0.001  # about 10 µs, unless the thread holds the lock while it syncs
