"""Is another run at work here, or another program on our port? One run at a time, told plainly."""

from __future__ import annotations

import socket
from contextlib import AbstractContextManager

import psutil

from features import locks
from settings import Settings, UserError


def run_lock(settings: Settings) -> AbstractContextManager[None]:
    """Hold `var/run.lock`. Raises `UserError`, which names the holder, if another run holds it."""
    lock = settings.var / "run.lock"
    return locks.hold_lock(lock, 0.0, refused=UserError, what="Another run")


def is_run_active(settings: Settings) -> bool:
    """Whether a run holds the lock just now."""
    return locks.is_locked(settings.var / "run.lock")


def is_port_free(port: int) -> bool:
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
    if not is_port_free(port):
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
