"""The lock on `data/`: one command at a time writes partitions, tables or the online store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar, cast

from features import durable_files, locks
from settings import Settings

P = ParamSpec("P")
R = TypeVar("R")
PATIENCE = 600.0  # seconds; ingesting a whole year takes less


@contextmanager
def hold_data_lock(settings: Settings) -> Iterator[None]:
    """Hold the lock on the data of `settings`; not re-entrant. Raise `LoopError` after 600 s."""
    with locks.hold_lock(settings.data / ".lock", PATIENCE, what="Another command that writes"):
        durable_files.remove_unfinished(settings.data)
        yield


def with_data_lock(
    step: Callable[Concatenate[Settings, P], R],
) -> Callable[Concatenate[Settings, P], R]:
    """Decorate `step(settings, ...)` to hold the data lock while it runs."""

    @wraps(step)
    def locked_step(settings: Settings, *args: P.args, **kwargs: P.kwargs) -> R:
        with hold_data_lock(settings):
            return step(settings, *args, **kwargs)

    return cast(Callable[Concatenate[Settings, P], R], locked_step)
