"""Scenarios for a service under load: swaps of its model, `kill -9`, too many clients."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sklearn.ensemble import HistGradientBoostingClassifier

from tests.serving.in_process import fitted_pipeline
from tests.serving.load import (
    Load,
    LoadReport,
    Reply,
    expected_probabilities,
    load_report,
    random_rows,
)
from tests.serving.service_process import Service

ROWS = 20


@contextmanager
def running_service(home: Path, **variables: str) -> Iterator[Service]:
    """Run a service without a rate limit until the block ends."""
    service = Service(home, MLOPS_REQUESTS_PER_SECOND="1000000", **variables)
    try:
        service.wait("/livez", lambda response: True, seconds=180)
        yield service
    finally:
        service.stop()


def release_version(service: Service, version: int) -> None:
    """Release a model of realistic size, different for each version."""
    model = HistGradientBoostingClassifier(max_iter=100 + version, max_leaf_nodes=31)
    service.release(str(version), fitted_pipeline(model))


def run_swaps(service: Service, *, requests: int, swaps: int, clients: int) -> LoadReport:
    """Send `requests` requests or a few more, while version after version is released.

    Each version answers its share once it is served, however long its release takes.
    """
    for version in range(swaps + 1, 0, -1):  # exports all; version 1 is served in the end
        release_version(service, version)
    rows = random_rows(ROWS)
    load = Load(service, rows, clients=clients)
    share = -(-requests // (swaps + 1))

    def release_each() -> None:
        _await_more(load, share)
        for version in range(2, swaps + 2):
            service.swap(str(version))
            _await_more(load, share)

    return load_report(service, load.run(release_each), expected_probabilities(service, rows))


def run_kills(service: Service, *, kills: int, between: int, clients: int) -> LoadReport:
    """Kill the worker `kills` times, each time `between` requests after it is ready."""
    release_version(service, 1)
    rows = random_rows(ROWS)
    load = Load(service, rows, clients=clients)

    def kill_each() -> None:
        for _ in range(kills):
            _await_more(load, between)
            service.worker().kill()
            service.wait("/readyz", lambda response: response.status_code == 200, 180)
        _await_more(load, between)

    return load_report(service, load.run(kill_each), expected_probabilities(service, rows))


def run_crowd(service: Service, *, clients: int, seconds: float) -> tuple[LoadReport, list[Reply]]:
    """Run more clients than the service takes at once. None of them waits after a 429."""
    release_version(service, 1)
    rows = random_rows(ROWS)
    replies = Load(service, rows, clients=clients).run(lambda: time.sleep(seconds))
    return load_report(service, replies, expected_probabilities(service, rows)), replies


def _await_more(load: Load, requests: int, seconds: float = 300) -> None:
    """Wait until `requests` more requests are done."""
    due, deadline = load.done + requests, time.monotonic() + seconds
    while load.done < due:
        assert time.monotonic() < deadline, "the load makes no progress"
        time.sleep(0.01)
