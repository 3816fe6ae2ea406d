"""SIGTERM and SIGHUP end a command like Ctrl-C: its clean-up runs, then it prints one line.

Standard library only: the scripts of the stack's host import this file, too.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from types import FrameType
from typing import Any

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_received: list[int] = []  # what `_interrupt` was called for; Ctrl-C does not call it


@contextmanager
def ended_by_signals(outcome: str) -> Iterator[None]:
    """Run the block. If a signal ends it, exit with 128 + the signal's number.

    Prints the signal and the `outcome` in one line, unless the outcome is empty. A signal that is
    ignored at the start stays ignored: `nohup` asks for that.
    """
    before = {
        number: signal.signal(number, _interrupt)
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    except KeyboardInterrupt:
        with ignored(), suppress(OSError):  # the terminal may be gone
            number = signal.Signals(_received[0] if _received else signal.SIGINT)
            if outcome:
                print(f"\nStopped by {number.name}. {outcome}", file=sys.stderr, flush=True)
        sys.exit(128 + number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _received.clear()


def ignored() -> AbstractContextManager[None]:
    """Ignore SIGINT, SIGTERM and SIGHUP during a clean-up."""
    return _handled_by(signal.SIG_IGN)


@contextmanager
def deferred() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP wait for the end of the block."""
    waiting: list[int] = []
    with _handled_by(lambda number, _: waiting.append(number)):
        yield
    if waiting:
        signal.raise_signal(waiting[0])


@contextmanager
def _handled_by(handler: Any) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals interrupt the main thread only
        return
    before = {number: signal.signal(number, handler) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C does now: libraries such as asyncio and uvicorn have their own handler."""
    _received.append(number)
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(signal.SIGINT, frame)
    else:  # a shell's background job ignores Ctrl-C only
        raise KeyboardInterrupt
