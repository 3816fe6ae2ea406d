"""Wait until a server answers, and check that a child process is alive."""

from __future__ import annotations

import time

import httpx

from pipelines.runtime.child_processes import Child
from settings import LoopError


def wait_until_healthy(child: Child, url: str, timeout: float) -> None:
    """Wait until `url` answers with success, for at most `timeout` seconds.

    Raises `LoopError` with the end of the child's log if it stops or does not answer in time.
    """
    deadline = time.monotonic() + timeout
    with _client() as client:
        while time.monotonic() < deadline:
            require_alive(child)
            if _answers(client, url):
                return
            time.sleep(0.1)
    raise LoopError(_describe_failure(child, f"did not answer at {url} within {timeout:.0f} s"))


def wait_for_server(url: str, timeout: float, what: str) -> None:
    """Wait until an external server answers at `url`; raise `LoopError` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    with _client() as client:
        while not _answers(client, url):
            if time.monotonic() > deadline:
                raise LoopError(
                    f"{what} did not answer at {url} within {timeout:.0f} s. See its log."
                )
            time.sleep(0.2)


def require_alive(child: Child) -> None:
    """Raise `LoopError` with the end of the child's log if it has stopped."""
    if child.process.poll() is not None:
        raise LoopError(
            _describe_failure(child, f"stopped with exit code {child.process.returncode}")
        )


def _client() -> httpx.Client:
    # One client for all attempts: a new one reads all certificates of the machine.
    return httpx.Client(timeout=2.0)


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).is_success
    except httpx.TransportError:
        return False


def _describe_failure(child: Child, what: str) -> str:
    lines = child.log.read_text(errors="replace").splitlines()[-20:]
    return "\n".join([f"{child.name} {what}. Its log is {child.log}, and ends with:", *lines])
