"""Segments of the prediction log: files of JSON lines, locked by their writer.

A segment is named `<UTC start>-<host>-<pid>.jsonl` and has a line for each record. Its writer holds
a lock (flock), which the kernel releases however the writer ends. An unlocked segment is closed.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from features.durable_files import sync

SEGMENT_SUFFIX = ".jsonl"
FOLDER_MODE = 0o2750


def make_log_folder(folder: Path) -> None:
    """Create `folder`, readable by its owner and its group only.

    New files in it get its group (the set-group-ID bit), so the group's members may read the log. A
    folder of another owner stays unchanged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if folder.stat().st_uid == os.getuid():
        folder.chmod(FOLDER_MODE)


def create_segment(folder: Path) -> tuple[Path, int]:
    """Create a segment, open for appending and locked until it is closed or this process ends."""
    while True:
        started = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        # The host is part of the name: in containers all writers have the same low pid.
        path = folder / f"{started}-{socket.gethostname()}-{os.getpid()}{SEGMENT_SUFFIX}"
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_nlink:
                sync(folder)
                return path, file
        except OSError:
            os.close(file)
            raise
        os.close(file)  # a compaction removed it as empty before it was locked; try another


def read_segments(folder: Path, *, newest_first: bool = False) -> Iterator[tuple[Path, bytes]]:
    """Yield each segment, open or closed, with its content."""
    for path in sorted(folder.glob(f"*{SEGMENT_SUFFIX}"), reverse=newest_first):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue  # compacted since the listing
        yield path, content


def read_closed_segment(path: Path) -> bytes | None:
    """Return the content of a closed segment; None if it is open. Removes an empty one."""
    with path.open("r+b") as file:  # for writing: NFS gives no exclusive lock otherwise
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        content = file.read()
        # A segment with content was locked by its writer, which has ended. An empty one may be
        # about to be locked, so it is removed under our lock and its writer notices.
        if not content:
            path.unlink()
        return content
