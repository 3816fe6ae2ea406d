"""Wait until a server answers, and check that a child process is alive."""

import httpx

from pipelines.runtime.child_processes import Child
from pipelines.runtime.waiting import wait_until
from settings import LoopError


def wait_until_healthy(server: Child | str, url: str, timeout: float) -> None:
    """Wait until `url` answers with success, for at most `timeout` seconds.

    `server` is a child process, or the name of an external server. Raises `LoopError` if it does
    not answer in time or if the child stops, with the end of the child's log.
    """

    def is_healthy() -> bool:
        if isinstance(server, Child):
            require_alive(server)
        try:
            return client.get(url).is_success
        except httpx.TransportError:
            return False

    # One client for all attempts: a new one reads all certificates of the machine.
    with httpx.Client(timeout=2.0) as client:
        if not wait_until(is_healthy, timeout):
            what = f"did not answer at {url} within {timeout:.0f} s"
            if isinstance(server, Child):
                raise _failure(server, what)
            raise LoopError(f"{server} {what}. See its log.")


def require_alive(child: Child) -> None:
    """Raise `LoopError` with the end of the child's log if it has stopped."""
    if child.process.poll() is not None:
        raise _failure(child, f"stopped with exit code {child.process.returncode}")


def _failure(child: Child, what: str) -> LoopError:
    lines = child.log.read_text(errors="replace").splitlines()[-20:]
    return LoopError(
        "\n".join([f"{child.name} {what}. Its log is {child.log}, and ends with:", *lines])
    )
