"""Send real cases to the service over HTTP, in order of their decision times."""

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pandas as pd
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, prepend_scheme_if_needed, select_proxy
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from contract import UseCase
from features.online_publisher import Publisher, publish_features
from features.validated_cases import read_cases
from pipelines.runtime import clock
from serving.http.access import bearer_header
from settings import LoopError, Settings

ReportProgress = Callable[[datetime, int, int], None]  # simulated time, cases done, all cases
PostRequest = Callable[..., BaseHTTPResponse]  # takes path, body and headers
MAX_CASES_PER_REQUEST = 500  # the service accepts 512 KiB and 1,000 cases


def send_cases(
    settings: Settings, since: datetime, until: datetime, report: ReportProgress = lambda *_: None,
    *, together: bool = False,
) -> dict[str, int]:  # fmt: skip
    """Request a prediction for every case with a decision time in [since, until).

    Before each request the online store holds the features published by the decision time, and no
    later ones. The clock moves with the cases. Cases with a decision on record are not sent again.
    `together` sends the cases between two publications in one request: it costs a fifth, with the
    same answers, mirroring and log. Returns the counts `asked` and `logged_before`. Raises
    `LoopError` if the service fails.
    """
    cases = cases_between(settings, since, until)
    new_cases = cases[~cases["key"].isin(_logged_keys(settings, since, until))]
    if new_cases.empty:
        return {"asked": 0, "logged_before": len(cases)}
    start = new_cases["decision_time"].iloc[0].to_pydatetime()
    publish_features(settings, start)
    publisher = Publisher(settings, start, until)
    done = len(cases) - len(new_cases)
    clients = settings.params()["turn"]["clients"]
    with service_connection(settings, clients) as post, ThreadPoolExecutor(clients) as pool:
        for moment, batch in _by_publication(new_cases, [start, *publisher.moments(until)]):
            publisher.step(moment)
            clock.advance_to(settings, batch["decision_time"].iloc[-1].to_pydatetime())
            rows = batch.to_dict("records")
            if together:
                done += _post_together(post, settings.use_case, rows)
            else:
                shares = (rows[number::clients] for number in range(clients))
                done += sum(pool.map(partial(_post_each, post, settings.use_case), shares))
            report(moment, done, len(cases))
    publisher.step(until)
    return {"asked": len(new_cases), "logged_before": len(cases) - len(new_cases)}


@contextmanager
def service_connection(settings: Settings, clients: int) -> Iterator[PostRequest]:
    """Yield a function that posts to the service, over up to `clients` connections.

    It raises `LoopError` without an answer. Uses the proxy of the environment, if it applies to the
    service.
    """
    base = settings.service_url
    common = {"Content-Type": "application/json", **bearer_header(settings)}
    # urllib3 takes a third of the time of requests or httpx for a thousand small requests. It
    # ignores proxy variables, so requests selects the proxy.
    adapter = HTTPAdapter(pool_maxsize=clients)
    proxy = select_proxy(base, get_environ_proxies(base))
    connections = adapter.poolmanager
    if proxy:
        connections = adapter.proxy_manager_for(prepend_scheme_if_needed(proxy, "http"))

    def post(path: str, body: Any, headers: dict[str, str]) -> BaseHTTPResponse:
        try:
            return connections.request(
                "POST", base + path, body=json.dumps(body), headers=common | headers, timeout=30
            )
        except HTTPError as error:
            raise LoopError(
                f"The service did not answer ({error!r}). See "
                f"{settings.state / 'logs' / 'service.log'}. Run the same command again: it "
                "continues from here."
            ) from error

    try:
        yield post
    finally:
        adapter.close()


def cases_between(settings: Settings, since: datetime, until: datetime) -> pd.DataFrame:
    """Return the spine of the cases with a decision time in [since, until), sorted by it."""
    first = (since - timedelta(days=7)).astimezone(UTC).date()
    cases = read_cases(settings, first, until.date())
    if cases.empty:
        feed = settings.use_case.spine_feed
        raise LoopError(f"No validated batches of {feed} up to {until}. Run `mlops ingest`.")
    chosen = cases[(cases["decision_time"] >= since) & (cases["decision_time"] < until)]
    return chosen.sort_values(["decision_time", "key"], ignore_index=True)


def case_request_id(key: str) -> str:
    """Return the same id for each request about a case, so that the log counts it once."""
    return hashlib.blake2b(key.encode(), digest_size=16).hexdigest()


def _by_publication(
    cases: pd.DataFrame, moments: list[datetime]
) -> Iterator[tuple[datetime, pd.DataFrame]]:
    """Yield (publication time, cases) for the cases between two publications."""
    starts = pd.DatetimeIndex(moments)
    group = starts.searchsorted(cases["decision_time"], side="right") - 1
    for number, batch in cases.groupby(group):
        yield starts[int(str(number))].to_pydatetime(), batch


def _post_each(post: PostRequest, use_case: UseCase, rows: list[dict[str, Any]]) -> int:
    for row in rows:
        post_case(post, "/predict", use_case.payload(row), case_request_id(row["key"]), row["key"])
    return len(rows)


def _post_together(post: PostRequest, use_case: UseCase, rows: list[dict[str, Any]]) -> int:
    for start in range(0, len(rows), MAX_CASES_PER_REQUEST):
        batch = rows[start : start + MAX_CASES_PER_REQUEST]
        first = batch[0]["key"]
        # A request is logged whole or not at all, so its first case identifies it.
        body = {"requests": [use_case.payload(row) for row in batch]}
        label = f"{first} and {len(batch) - 1} more"
        post_case(post, "/predict_batch", body, case_request_id(first), label)
    return len(rows)


def post_case(post: PostRequest, path: str, body: Any, request_id: str, label: str) -> None:
    """Post one request; raise `LoopError`, naming the case by `label`, if it is refused."""
    answer = post(path, body, {"X-Request-Id": request_id})
    if answer.status != 200:
        raise LoopError(
            f"The service refused the case {label} with {answer.status}: "
            f"{answer.data[:300].decode(errors='replace')}"
        )


def _logged_keys(settings: Settings, since: datetime, until: datetime) -> set[str]:
    from serving.prediction_log.decisions import read_decisions

    return set(read_decisions(settings, since=since, until=until)["key"])
