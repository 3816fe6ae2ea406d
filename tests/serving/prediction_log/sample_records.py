"""Sample records and helpers for the tests of the prediction log."""

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from serving.prediction_log.writer import PredictionLog

ROOT = Path(__file__).parents[3]
NOON = datetime(2013, 4, 1, 12, tzinfo=UTC)


def record(request_id: str, **changes: Any) -> dict[str, Any]:
    """Return a record decided at `NOON`, logged a microsecond later."""
    return {
        "request_id": request_id, "key": f"case-{request_id}", "probability": 0.25,
        "decision": True, "model_version": "7", "model_digest": "a" * 64,
        "decision_time": NOON, "features_as_of": NOON - timedelta(hours=1),
        "logged_at": NOON + timedelta(microseconds=1),
        "request": {"account": "a", "size": 3, "due": "2013-04-01T14:00:00+02:00"},
        "features": {"region": "north", "amount": 1.0, "age": None},
    } | changes  # fmt: skip


def numbered_record(number: int, **changes: Any) -> dict[str, Any]:
    """Return a record decided `number` hours after `NOON`, logged `number` minutes after it."""
    return record(
        str(number), decision_time=NOON + timedelta(hours=number), features_as_of=None,
        logged_at=NOON + timedelta(minutes=number, microseconds=number % 2),
        request={"due": "2013-04-01"}, features={"amount": 1.0 * number, "age": None},
    ) | changes  # fmt: skip


def write_log(folder: Path, *records: dict[str, Any]) -> Path:
    """Log `records` into one segment and close it; return its path."""
    log = PredictionLog(folder)
    for each in records:
        log.append(each)
    log.close()
    return log.path


def names(folder: Path, suffix: str) -> list[str]:
    """Return the sorted names of the files with `suffix`."""
    return sorted(path.name for path in folder.glob(f"*{suffix}"))


def parquet_rows(folder: Path) -> int:
    """Count the rows of the Parquet files, duplicates included."""
    return sum(pq.read_metadata(path).num_rows for path in folder.glob("*.parquet"))


def same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Return True if the frames and their `attrs` are equal, in any order of columns."""
    pd.testing.assert_frame_equal(one, other, check_like=True)
    return one.attrs == other.attrs


def child(code: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start Python code in a child process, with pipes to its stdin and stdout."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options,
    )  # fmt: skip


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait up to 30 s until `condition()` holds."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.005)
