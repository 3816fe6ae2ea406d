"""Wait until a condition holds."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(holds: Callable[[], T], timeout: float, every: float = 0.1) -> T:
    """Call `holds` every `every` seconds until it returns something true; return the last result.

    After `timeout` seconds the result is false, so a caller can tell that the time is over.
    """
    deadline = time.monotonic() + timeout
    while not (result := holds()) and time.monotonic() < deadline:
        time.sleep(every)
    return result
