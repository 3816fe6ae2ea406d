"""What does the service owe its clients while it is killed, or too many ask?

`make bench-load` does the same at length, and swaps of models, too (docs/benchmarks/load.md).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving import scenarios
from tests.serving.load import quantile
from tests.serving.service_process import Service

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
AT_ONCE = 4


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with scenarios.running_service(
        tmp_path_factory.mktemp("home"), MLOPS_REQUESTS_AT_ONCE=str(AT_ONCE)
    ) as service:
        yield service


def test_nothing_acknowledged_is_missing_after_kill_9_and_nothing_is_there_twice(
    service: Service,
) -> None:
    found = scenarios.run_kills(service, kills=3, between=500, clients=AT_ONCE)
    assert found.answered >= 4 * 500
    assert found.dropped >= 3  # it was killed while it was asked
    assert (found.mixed, found.missing, found.doubled, found.unasked) == (0, 0, 0, 0)


def test_those_who_are_too_many_are_told_to_wait_and_the_others_do_not_wait_long(
    service: Service,
) -> None:
    found, replies = scenarios.run_crowd(service, clients=10 * AT_ONCE, seconds=8)
    assert found.answered > 500
    assert found.refused > 500
    assert (found.failed, found.dropped) == (0, 0)
    assert (found.mixed, found.missing, found.doubled, found.unasked) == (0, 0, 0, 0)
    assert quantile(replies, 0.99) < 1000
