"""Is another run at work here, or another program on our port? One run at a time, told plainly."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO

import psutil

from settings import Settings, UserError


@contextmanager
def run_lock(settings: Settings) -> Iterator[None]:
    """Holds `var/run.lock`, whose text says who holds it: pid, command, since when (UTC).

    The kernel gives the lock back when the holder dies, however it dies; children do not inherit
    it, since Python opens files close-on-exec. Raises `UserError` if another run holds it.
    """
    path = settings.var / "run.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(_told(lock, settings)) from error
        since = datetime.now(UTC).isoformat(timespec="seconds")
        _rewrite(lock, {"pid": os.getpid(), "since": since, "command": shlex.join(sys.argv)})
        try:
            yield
        finally:
            _rewrite(lock, None)


def busy(settings: Settings) -> bool:
    """Whether a run holds the lock just now."""
    path = settings.var / "run.lock"
    if not path.exists():
        return False
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _rewrite(lock: IO[str], holder: dict[str, object] | None) -> None:
    lock.truncate(0)
    lock.write(json.dumps(holder) if holder else "")
    lock.flush()


def _told(lock: IO[str], settings: Settings) -> str:
    lock.seek(0)
    text = lock.read()
    # Empty between the other's taking of the lock and its writing of who it is.
    holder = json.loads(text) if text else {"pid": "unknown", "since": "just now", "command": "?"}
    return (
        f"Another run is at work in {settings.var}: pid {holder['pid']}, since {holder['since']} "
        f"({holder['command']}). Wait until it ends, or stop it."
    )


def port_free(port: int) -> bool:
    """Whether a server of ours could listen on `port` of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a connection that has just ended does not keep the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def require_port_free(port: int, what: str, setting_name: str) -> None:
    """Raises `UserError`, naming who has the port and the setting to change, if it is taken."""
    if not port_free(port):
        raise UserError(
            f"Port {port} ({what}) is taken by {_holder(port)}; stop it or set {setting_name}."
        )


def _holder(port: int) -> str:
    try:
        for found in psutil.net_connections(kind="tcp"):
            if found.laddr and found.laddr.port == port and found.status == psutil.CONN_LISTEN:
                if found.pid is None:
                    break
                return f"pid {found.pid} ({psutil.Process(found.pid).name()})"
    except psutil.Error:
        return "a process that this user may not see"
    return "a process that this user may not see"
