"""Writes the prediction log: append-only segments that lose no acknowledged record.

One `write(2)` writes a record as one line before the response is sent; from then on the record
outlives the process. A thread syncs it to the disk every 100 ms, so a power cut loses no more than
that. Many processes on many hosts may log to one folder. `serving.prediction_log.compaction` turns
closed segments into Parquet.
"""

import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from serving.prediction_log import segments
from settings import LoopError

logger = logging.getLogger(__name__)
RETRY_SECONDS = 60.0  # between attempts to create a new segment


class PredictionLog:
    """The log of one process, in one segment after another. Safe to share between threads."""

    def __init__(
        self, folder: Path, *, sync_every: float = 0.1,
        max_size: int = 64 << 20, max_age: float = 3600.0,
    ) -> None:  # fmt: skip
        segments.make_log_folder(folder)
        self.path, self._file = segments.create_segment(folder)
        self._max_size, self._max_age = max_size, max_age  # bytes and seconds of a segment
        self._lock = threading.Lock()
        self._size = 0
        self._unsynced_since: float | None = None  # by time.monotonic; None: all are synced
        self._failure: OSError | None = None
        self._rotate_after = 0.0
        self._began = time.monotonic()
        self._closing = threading.Event()
        self._thread = threading.Thread(
            target=self._sync_loop, args=(sync_every,), name="prediction-log", daemon=True
        )
        self._thread.start()

    @property
    def failure(self) -> str | None:
        """Why the log takes no records until the service restarts; None while it works."""
        if self._failure is None:
            return None
        return (
            f"The prediction log {self.path} could not be synced to the disk ({self._failure}). "
            "Nothing more is answered. Check the disk, then restart the service."
        )

    def lag(self) -> float:
        """Return the age in seconds of the oldest record not yet synced; 0 if all are synced."""
        since = self._unsynced_since
        return 0.0 if since is None else time.monotonic() - since

    def append(self, *records: Mapping[str, Any]) -> None:
        """Write all records or none, with one write. They outlive the process once this returns.

        Times become ISO 8601, NaN and infinities null. Raises `LoopError` if the log is closed or
        the disk fails. Then the response must not be sent.
        """
        lines = b"".join(to_json(dict(each), inf_nan_mode="null") + b"\n" for each in records)
        with self._lock:
            if self._closing.is_set():
                raise LoopError(f"The prediction log {self.path} is closed.")
            if self._failure is not None:
                raise LoopError(self.failure, code="log_not_synced") from self._failure
            self._write(lines)

    def close(self) -> None:
        """Sync and close the segment, once. Raises `LoopError` if the sync fails."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
        self._thread.join()
        self._sync()
        os.close(self._file)
        if self._failure is not None:
            raise LoopError(
                f"The prediction log {self.path} was not synced. Check the disk."
            ) from self._failure

    def _write(self, lines: bytes) -> None:
        try:
            written = os.write(self._file, lines)
            if written < len(lines):
                os.ftruncate(self._file, self._size)  # otherwise the next record shares its line
                raise OSError(f"only {written} of {len(lines)} bytes could be written")
        except OSError as error:
            raise LoopError(
                f"The prediction log {self.path} cannot be written ({error}). The prediction is "
                "not answered. Free some space on the disk.",
                code="log_not_written",
            ) from error
        self._size += written
        if self._unsynced_since is None:
            self._unsynced_since = time.monotonic()

    def _sync_loop(self, interval: float) -> None:
        while not self._closing.wait(interval):
            self._sync()
            # Rotates here, not in `append`: no request waits for the disk, and a service without
            # requests closes its segment, too.
            removed = self._is_removed()
            if (removed and time.monotonic() >= self._rotate_after) or self._is_full():
                self._rotate(copied=removed)

    def _sync(self) -> None:
        with self._lock:
            since, self._unsynced_since = self._unsynced_since, None
        if since is not None:
            try:
                os.fsync(self._file)  # outside the lock, so that no request waits for the disk
            except OSError as error:
                self._failure = error

    def _is_removed(self) -> bool:
        """Return whether the segment has lost its name, as after a clean-up by another program.

        One that another program has cut short is reported: its records are lost.
        """
        with self._lock:
            here = os.fstat(self._file)
            if here.st_size < self._size:
                logger.error(
                    "%s was cut from %d to %d bytes by another program. These records are lost.",
                    self.path, self._size, here.st_size,
                )  # fmt: skip
                self._size = here.st_size
        try:
            return not os.path.samestat(here, self.path.stat())
        except OSError:
            return True

    def _is_full(self) -> bool:
        now = time.monotonic()
        if not self._size:
            self._began = now
        old = now - self._began >= self._max_age
        return (old or self._size >= self._max_size) and now >= self._rotate_after

    def _rotate(self, *, copied: bool) -> None:
        """Continue in a new segment and close the old one, so that it can be compacted.

        `copied`: the new one begins with the old one's records, which no name leads to any more.
        """
        try:
            segments.make_log_folder(self.path.parent)
            path, file = segments.create_segment(self.path.parent)
            with self._lock:
                old, size = self._file, 0
                if copied:
                    size = self._copy_records(path, file)
                self.path, self._file, self._size = path, file, size
        except OSError as error:
            self._rotate_after = time.monotonic() + RETRY_SECONDS
            logger.warning("%s grows on, since no new segment can be created: %s", self.path, error)
            return
        try:
            os.fsync(old)
            os.close(old)  # over a network it may fail, too
        except OSError as error:
            self._failure = error

    def _copy_records(self, path: Path, file: int) -> int:
        """Copy the records to the new segment, and sync them; return their size."""
        content = os.pread(self._file, self._size, 0)
        try:
            with open(file, "ab", closefd=False) as target:
                target.write(content)
            os.fsync(file)
        except OSError:
            path.unlink(missing_ok=True)
            os.close(file)
            raise
        logger.error("Another program removed %s. Its records are now in %s.", self.path, path)
        return len(content)
