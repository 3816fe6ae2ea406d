"""What a service may meet while it is asked: swaps of its model, `kill -9`, more than it can do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sklearn.ensemble import HistGradientBoostingClassifier

from tests.serving.in_process import fitted_pipeline
from tests.serving.load import (
    Account,
    Load,
    Reply,
    expected_probabilities,
    make_account,
    random_rows,
)
from tests.serving.service_process import Service

ROWS = 20


@contextmanager
def running_service(home: Path, **variables: str) -> Iterator[Service]:
    """A service that limits no client's rate, until the block ends."""
    service = Service(home, MLOPS_REQUESTS_PER_SECOND="1000000", **variables)
    try:
        service.wait("/livez", lambda response: True, seconds=180)
        yield service
    finally:
        service.stop()


def release_version(service: Service, version: int) -> None:
    """A model of its own for each version, of the size of a real one."""
    model = HistGradientBoostingClassifier(max_iter=100 + version, max_leaf_nodes=31)
    service.release(str(version), fitted_pipeline(model))


def run_swaps(service: Service, *, requests: int, swaps: int, clients: int) -> Account:
    """Asks `requests` times or a few more, while version after version is released.

    Each answers its share of them once it is served, however long its release took.
    """
    for version in range(swaps + 1, 0, -1):  # all are exported, and the first one is served
        release_version(service, version)
    asked = random_rows(ROWS)
    load = Load(service, asked, clients=clients)
    share = -(-requests // (swaps + 1))

    def release_each() -> None:
        _await_more(load, share)
        for version in range(2, swaps + 2):
            service.swap(str(version))
            _await_more(load, share)

    return make_account(service, load.run(release_each), expected_probabilities(service, asked))


def run_kills(service: Service, *, kills: int, between: int, clients: int) -> Account:
    """Kills the process that answers again and again, `between` requests after it came back."""
    release_version(service, 1)
    asked = random_rows(ROWS)
    load = Load(service, asked, clients=clients)

    def kill_each() -> None:
        for _ in range(kills):
            _await_more(load, between)
            service.worker().kill()
            service.wait("/readyz", lambda response: response.status_code == 200, 180)
        _await_more(load, between)

    return make_account(service, load.run(kill_each), expected_probabilities(service, asked))


def run_crowd(service: Service, *, clients: int, seconds: float) -> tuple[Account, list[Reply]]:
    """More clients than the service takes at once; none of them waits when it is told to."""
    release_version(service, 1)
    asked = random_rows(ROWS)
    replies = Load(service, asked, clients=clients).run(lambda: time.sleep(seconds))
    return make_account(service, replies, expected_probabilities(service, asked)), replies


def _await_more(load: Load, requests: int, seconds: float = 300) -> None:
    """Waits until so many more requests are over."""
    due, deadline = load.done + requests, time.monotonic() + seconds
    while load.done < due:
        assert time.monotonic() < deadline, "the load does not get on"
        time.sleep(0.01)
