"""What did the service answer, to whom, on what grounds? An append-only log that loses nothing.

A record is one line, written by one `write(2)` before the answer is sent: it outlives the process
from then on. A thread syncs it to the disk every 100 ms: a power cut costs no more than that.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from serving.durable import sync_folder
from settings import LoopError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TIMES = ("decision_time", "features_as_of", "logged_at")
COLUMNS = (
    "request_id", "key", "probability", "decision", "model_version", "model_digest", *TIMES,
)  # fmt: skip


class PredictionLog:
    """The segment of one process: `<UTC start>-<pid>.jsonl`. Safe to share between threads."""

    def __init__(self, folder: Path, *, sync_every: float = 0.1) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        started = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self.path = folder / f"{started}-{os.getpid()}.jsonl"
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        sync_folder(folder)
        self._lock = threading.Lock()
        self._size = 0
        self._unsynced = False
        self._failure: OSError | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(
            target=self._sync_loop, args=(sync_every,), name="prediction-log", daemon=True
        )
        self._thread.start()

    def append(self, record: Mapping[str, Any]) -> None:
        """Writes one record; when this returns, the record outlives the process.

        Times become ISO 8601, NaN and infinities null. Raises `LoopError` if the log is closed, or
        the disk refuses: then the answer must not be sent.
        """
        line = to_json(dict(record), inf_nan_mode="null") + b"\n"
        with self._lock:
            if self._closing.is_set():
                raise LoopError(f"The prediction log {self.path} is closed.")
            if self._failure is not None:
                raise LoopError(
                    f"The prediction log {self.path} could not be synced to the disk, so nothing "
                    "more is answered. Look at the disk, then restart the service."
                ) from self._failure
            self._write(line)

    def close(self) -> None:
        """Syncs and closes the segment, once. Raises `LoopError` if it could not be synced."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
        self._thread.join()
        self._sync()
        os.close(self._file)
        if self._failure is not None:
            raise LoopError(f"The prediction log {self.path} was not synced.") from self._failure

    def _write(self, line: bytes) -> None:
        try:
            written = os.write(self._file, line)
            if written < len(line):
                os.ftruncate(self._file, self._size)  # or the next record would share its line
                raise OSError(f"only {written} of {len(line)} bytes could be written")
        except OSError as error:
            raise LoopError(
                f"The prediction log {self.path} cannot be written ({error}), so the prediction "
                "is not answered. Free some space on the disk."
            ) from error
        self._size += written
        self._unsynced = True

    def _sync_loop(self, interval: float) -> None:
        while not self._closing.wait(interval):
            self._sync()

    def _sync(self) -> None:
        with self._lock:
            unsynced, self._unsynced = self._unsynced, False
        if unsynced:
            try:
                os.fsync(self._file)  # outside the lock: requests need not wait for the disk
            except OSError as error:
                self._failure = error


def read(folder: Path) -> pd.DataFrame:
    """All records in `folder`, one row per request, in the order in which they were logged.

    `COLUMNS`, then the logged objects flattened: `request.<field>` and `features.<column>`. Times
    are datetime64[us, UTC]. Of records with one `request_id` the first counts. A last line without
    its end was never acknowledged and is left out. `attrs` counts both: `torn_lines`,
    `duplicates`. Raises `LoopError` if a whole line is not a record.
    """
    import pandas as pd
    import pyarrow as pa

    tables, torn_lines = [], 0
    for segment in sorted(folder.glob("*.jsonl")):
        content = segment.read_bytes()
        end = content.rfind(b"\n") + 1
        torn_lines += end < len(content)
        if end:
            tables.append(_table(segment, content[:end]))
    empty = pa.table({column: [] for column in COLUMNS})
    frame = pa.concat_tables(tables or [empty], promote_options="permissive").to_pandas()
    for column in TIMES:
        times = pd.to_datetime(frame[column], utc=True, format="ISO8601")
        frame[column] = times.astype("datetime64[us, UTC]")
    once: pd.DataFrame = frame.drop_duplicates("request_id", keep="first", ignore_index=True)
    once.attrs = {"torn_lines": torn_lines, "duplicates": len(frame) - len(once)}
    return once


def _table(segment: Path, content: bytes) -> pa.Table:
    import pyarrow as pa

    from serving import json_lines

    try:
        table = json_lines.table(content)
    except pa.ArrowInvalid as error:
        raise LoopError(
            f"{segment} holds a line that is not a record ({error}). Something else wrote to it or "
            "the disk is faulty: restore the file, or move it away and lose its records."
        ) from error
    if absent := set(COLUMNS) - set(table.column_names):
        raise LoopError(f"{segment} holds records without {sorted(absent)}: not a prediction log.")
    return table
