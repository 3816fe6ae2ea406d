"""The lock for one run at a time, and the checks that a port is free."""

import socket
from contextlib import AbstractContextManager, suppress

import psutil

from features import locks
from settings import Settings, UserError


def run_lock(settings: Settings) -> AbstractContextManager[None]:
    """Hold the use case's `run.lock`; raise `UserError` with the holder's name if another does."""
    lock = settings.state / "run.lock"
    return locks.hold_lock(lock, 0.0, refused=UserError, what="Another run")


def is_run_active(settings: Settings) -> bool:
    """Whether a run holds the lock."""
    return locks.is_locked(settings.state / "run.lock")


def is_port_free(port: int) -> bool:
    """Whether a server can listen on `port` of this machine."""
    try:
        # Sets SO_REUSEADDR, as servers do: a connection that has just ended does not block it.
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def require_port_free(port: int, what: str, setting_name: str) -> None:
    """Raise `UserError` with the port's holder and the setting to change, if it is taken."""
    if not is_port_free(port):
        raise UserError(
            f"Port {port} ({what}) is taken by {_find_holder(port)}. Stop it or set "
            f"{setting_name}.",
            code="port_taken",
        )


def _find_holder(port: int) -> str:
    with suppress(psutil.Error):
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if connection.laddr and connection.laddr.port == port and listens and connection.pid:
                return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
    return "a process that is hidden from this user"
