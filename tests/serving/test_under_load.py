"""The service while it is killed, and with too many clients.

`make bench-load` runs the same for longer, and swaps of models (docs/benchmarks/load.md).
"""

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


def test_after_kill_9_no_acknowledged_record_is_missing_and_none_is_doubled(
    service: Service,
) -> None:
    report = scenarios.run_kills(service, kills=3, between=500, clients=AT_ONCE)
    assert report.answered >= 4 * 500
    assert report.dropped >= 3  # the kills hit requests under way
    assert (report.mixed, report.missing, report.doubled, report.unasked) == (0, 0, 0, 0)


def test_too_many_clients_get_429_and_the_others_do_not_wait_long(service: Service) -> None:
    report, replies = scenarios.run_crowd(service, clients=10 * AT_ONCE, seconds=8)
    assert report.answered > 500
    assert report.refused > 500
    assert (report.failed, report.dropped) == (0, 0)
    assert (report.mixed, report.missing, report.doubled, report.unasked) == (0, 0, 0, 0)
    assert quantile(replies, 0.99) < 1000
