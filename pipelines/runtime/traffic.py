"""Real cases replayed against the service over HTTP, in the order in which the world met them."""

from __future__ import annotations

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

from features import partitions
from features.online_publisher import Publisher, publish_features
from serving.http.access import bearer_header
from settings import LoopError, Settings
from usecase.request import payload
from usecase.target import SPINE_FEED, spine

ReportProgress = Callable[[datetime, int, int], None]
PostRequest = Callable[..., BaseHTTPResponse]  # given a path, a body and headers of this request
MAX_CASES_PER_REQUEST = 500  # cases in one request; the service takes 512 KiB and 1,000


def send_cases(
    settings: Settings, since: datetime, until: datetime, told: ReportProgress = lambda *_: None,
    *, together: bool = False,
) -> dict[str, int]:  # fmt: skip
    """Asks the service about every case whose decision falls in [since, until), at its moment.

    Before a case is asked, the features published by its decision time are in the online store,
    and no later ones. Cases that the log has already are not asked again. `together`: those
    between two publications in one request, which costs a fifth and is answered, mirrored and
    logged as each alone. `told` hears of the simulated time, the cases done and the cases in all.
    Raises `LoopError` if the service fails.
    """
    cases = cases_between(settings, since, until)
    open_cases = cases[~cases["key"].isin(_logged_keys(settings, since, until))]
    if open_cases.empty:
        return {"asked": 0, "logged_before": len(cases)}
    start = open_cases["decision_time"].iloc[0].to_pydatetime()
    publish_features(settings, start)
    publisher = Publisher(settings, start, until)
    asked = len(cases) - len(open_cases)
    clients = settings.params()["turn"]["clients"]
    with _service(settings, clients) as service, ThreadPoolExecutor(clients) as pool:
        for moment, batch in _by_publication(open_cases, [start, *publisher.moments(until)]):
            publisher.step(moment)
            rows = batch.to_dict("records")
            if together:
                asked += _ask_together(service, rows)
            else:
                shares = (rows[number::clients] for number in range(clients))
                asked += sum(pool.map(partial(_ask_each, service), shares))
            told(moment, asked, len(cases))
    publisher.step(until)
    return {"asked": len(open_cases), "logged_before": len(cases) - len(open_cases)}


@contextmanager
def _service(settings: Settings, clients: int) -> Iterator[PostRequest]:
    """Asks the service, over as many connections as `clients`; through a proxy if it must be."""
    base = settings.service_url
    common = {"Content-Type": "application/json", **bearer_header(settings)}
    # urllib3, not requests or httpx: a thousand small requests cost it a third of the time. It
    # heeds no proxy by itself, so requests finds the way.
    adapter = HTTPAdapter(pool_maxsize=clients)
    proxy = select_proxy(base, get_environ_proxies(base))
    way = adapter.poolmanager
    if proxy:
        way = adapter.proxy_manager_for(prepend_scheme_if_needed(proxy, "http"))

    def ask(path: str, body: Any, headers: dict[str, str]) -> BaseHTTPResponse:
        return way.request(
            "POST", base + path, body=json.dumps(body), headers=common | headers, timeout=30
        )

    try:
        yield ask
    finally:
        adapter.close()


def cases_between(settings: Settings, since: datetime, until: datetime) -> pd.DataFrame:
    """The spine of the cases with a decision time in [since, until), in that order."""
    first = (since - timedelta(days=7)).astimezone(UTC).date()
    known = partitions.read_days(settings.data, "validated", SPINE_FEED, first, until.date())
    if known.empty:
        raise LoopError(f"No validated batches of {SPINE_FEED} up to {until}: run `mlops ingest`.")
    cases = spine(known)
    chosen = cases[(cases["decision_time"] >= since) & (cases["decision_time"] < until)]
    return chosen.sort_values(["decision_time", "key"], ignore_index=True)


def case_request_id(key: str) -> str:
    """The same case asked again has the same id, so that the log counts it once."""
    return hashlib.blake2b(key.encode(), digest_size=16).hexdigest()


def _by_publication(
    cases: pd.DataFrame, moments: list[datetime]
) -> Iterator[tuple[datetime, pd.DataFrame]]:
    """The cases in groups between which something was published: (published by, cases)."""
    starts = pd.DatetimeIndex(moments)
    group = starts.searchsorted(cases["decision_time"], side="right") - 1
    for number, batch in cases.groupby(group):
        yield starts[int(str(number))].to_pydatetime(), batch


def _ask_each(service: PostRequest, rows: list[dict[str, Any]]) -> int:
    for row in rows:
        _post(service, "/predict", payload(row), case_request_id(row["key"]), row["key"])
    return len(rows)


def _ask_together(service: PostRequest, rows: list[dict[str, Any]]) -> int:
    for start in range(0, len(rows), MAX_CASES_PER_REQUEST):
        some = rows[start : start + MAX_CASES_PER_REQUEST]
        first = some[0]["key"]
        # A request is logged whole or not at all, so its first case tells it from others.
        body = {"requests": [payload(row) for row in some]}
        told = f"{first} and {len(some) - 1} more"
        _post(service, "/predict_batch", body, case_request_id(first), told)
    return len(rows)


def _post(service: PostRequest, path: str, body: Any, name: str, case: str) -> None:
    try:
        answer = service(path, body, {"X-Request-Id": name})
    except HTTPError as error:
        raise LoopError(
            f"The service did not answer ({error!r}); its log is var/logs/service.log. Run the "
            "same command again: it goes on from here."
        ) from error
    if answer.status != 200:
        raise LoopError(
            f"The service refused the case {case} with {answer.status}: "
            f"{answer.data[:300].decode(errors='replace')}"
        )


def _logged_keys(settings: Settings, since: datetime, until: datetime) -> set[str]:
    from serving.prediction_log.reader import read_predictions

    return set(read_predictions(settings.predictions, since=since, until=until)["key"])
