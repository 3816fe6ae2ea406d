"""How is a segment of the prediction log named, and kept by its writer until it is closed?

`<UTC start>-<host>-<pid>.jsonl`, a line for each record. Its writer holds a lock on it (flock),
which the kernel gives back however the writer ends: a segment whose lock can be had is closed.
"""

from __future__ import annotations

import fcntl
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from features.durable_files import sync

SEGMENT_SUFFIX = ".jsonl"
FOLDER_MODE = 0o2750


def make_log_folder(folder: Path) -> None:
    """Makes `folder`, for its owner and its group to read and for nobody else.

    What is made in it takes its group (the set-group-ID bit): who may read the log is who is in
    that group. A folder of somebody else's is left as its owner has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if folder.stat().st_uid == os.getuid():
        folder.chmod(FOLDER_MODE)


def create_segment(folder: Path) -> tuple[Path, int]:
    """A new segment, open for appending and locked until it is closed or this process ends."""
    while True:
        started = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        # In containers every writer has the same low pid.
        path = folder / f"{started}-{socket.gethostname()}-{os.getpid()}{SEGMENT_SUFFIX}"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_nlink:
                sync(folder)
                return path, file
        except OSError:
            os.close(file)
            raise
        os.close(file)  # before it was locked, a compaction took it for one that was left empty


def read_closed_segment(path: Path) -> bytes | None:
    """The content of a closed segment; None if its writer goes on. An empty one is removed."""
    with path.open("r+b") as file:  # for writing: NFS gives no exclusive lock otherwise
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        content = file.read()
        # What holds something was locked before by its writer, who is gone. An empty one may be
        # about to be locked: it has to go under our lock, for the writer to see it.
        if not content:
            path.unlink()
        return content
