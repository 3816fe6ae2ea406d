"""Load from many clients at once, and a report that compares the replies with the log.

Every request has its own id and a row whose probability is known for each version. So a reply that
mixes two versions is recognised.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import numpy as np
from urllib3 import HTTPConnectionPool, connection_from_url
from urllib3.exceptions import HTTPError

from serving.models.evaluator import Evaluator
from serving.prediction_log.reader import read_predictions
from tests.serving.service_process import Service
from tests.use_case import CATEGORIES, FEATURES, USE_CASE

PAUSE_SECONDS = 0.05  # of a client after a request without a reply


@dataclass(frozen=True)
class Reply:
    """The reply to one request; `status` is 0 if there was none."""

    id: str
    row: int
    status: int
    seconds: float
    version: str = ""
    probability: float = float("nan")


@dataclass(frozen=True)
class LoadReport:
    """Counts of a load's requests, compared with the log."""

    requests: int
    answered: int  # 200
    refused: int  # 429 with Retry-After
    failed: int  # any other status
    dropped: int  # no reply
    mixed: int  # replies whose probability is not their version's for their row
    missing: int  # answered, but not in the log with the same version and probability
    doubled: int  # duplicate records in the log
    unasked: int  # in the log, but of no request of this load that may have been answered
    by_version: dict[str, int]


def random_rows(n: int) -> list[dict[str, Any]]:
    """Return random features, different enough to tell models apart."""
    rng = np.random.default_rng(7)
    return [
        {
            name: str(rng.choice(["AA", "BB", "CCC"])) if name in CATEGORIES else float(value)
            for name, value in zip(FEATURES, rng.normal(size=len(FEATURES)), strict=True)
        }
        for _ in range(n)
    ]


def expected_probabilities(
    service: Service, rows: Sequence[Mapping[str, Any]]
) -> dict[str, list[float]]:
    """Return the probability of each row by exported version; all versions must differ."""
    probabilities = {
        version: [float(p) for p in Evaluator.load(folder, digest).predict(list(rows))]
        for version, (folder, digest) in service.exported.items()
    }
    for row in range(len(rows)):
        values = {version[row] for version in probabilities.values()}
        assert len(values) == len(probabilities), "two versions give the same probability"
    return probabilities


class Load:
    """`clients` threads, each with its own connection, that send requests until stopped."""

    def __init__(
        self, service: Service, rows: Sequence[Mapping[str, Any]], *, clients: int
    ) -> None:
        at = datetime(2013, 4, 1, tzinfo=UTC).isoformat()
        self._bodies = [
            json.dumps({"key": f"row-{n}", "decision_time": at, "features": values})
            for n, values in enumerate(rows)
        ]
        self._url = service.settings.service_url
        self._name = f"load-{uuid4().hex[:8]}"
        self._clients = clients
        self._stopping = threading.Event()
        self._replies: list[list[Reply]] = [[] for _ in range(clients)]

    @property
    def done(self) -> int:
        return sum(map(len, self._replies))

    def run(self, meanwhile: Callable[[], object]) -> list[Reply]:
        """Run the load during `meanwhile()` and return all replies."""
        with (
            connection_from_url(
                self._url, maxsize=self._clients, timeout=60,
                headers={"Content-Type": "application/json"},
            ) as pool,
            ThreadPoolExecutor(self._clients) as threads,
        ):  # fmt: skip
            futures = [threads.submit(self._ask, pool, n) for n in range(self._clients)]
            try:
                meanwhile()
            finally:
                self._stopping.set()
            for future in futures:
                future.result()
        return [reply for replies in self._replies for reply in replies]

    def _ask(self, pool: HTTPConnectionPool, client: int) -> None:
        replies = self._replies[client]
        while not self._stopping.is_set():
            name, row = f"{self._name}-{client}-{len(replies)}", len(replies) % len(self._bodies)
            began = time.perf_counter()
            try:
                answer = pool.request(
                    "POST", "/score", body=self._bodies[row], retries=False,
                    headers={"Content-Type": "application/json", "X-Request-Id": name},
                )  # fmt: skip
            except HTTPError:
                replies.append(Reply(name, row, 0, time.perf_counter() - began))
                time.sleep(PAUSE_SECONDS)
                continue
            seconds = time.perf_counter() - began
            if answer.status != 200:
                assert answer.status != 429 or answer.headers["Retry-After"] == "1"
                replies.append(Reply(name, row, answer.status, seconds))
                continue
            prediction = answer.json()
            assert prediction["request_id"] == name
            version, probability = prediction["model_version"], prediction["probability"]
            replies.append(Reply(name, row, 200, seconds, version, probability))


def load_report(
    service: Service, replies: Sequence[Reply], probabilities: Mapping[str, Sequence[float]]
) -> LoadReport:
    """Compare each reply with its version's probability and with the service's log."""
    frame = read_predictions(USE_CASE, service.log)
    loads = tuple({one.id.rsplit("-", 2)[0] for one in replies})
    logged = {
        name: (version, probability)
        for name, version, probability in zip(
            frame["request_id"], frame["model_version"], frame["probability"], strict=True
        )
        if name.startswith(loads)
    }
    answered = [one for one in replies if one.status == 200]
    by_status = Counter(one.status for one in replies)
    # A request without a reply may be logged: the connection broke after the logging.
    open_ids = {one.id for one in replies if one.status in (0, 200)}
    return LoadReport(
        requests=len(replies),
        answered=len(answered),
        refused=by_status[429],
        failed=len(replies) - len(answered) - by_status[429] - by_status[0],
        dropped=by_status[0],
        mixed=sum(probabilities[one.version][one.row] != one.probability for one in answered),
        missing=sum(logged.get(one.id) != (one.version, one.probability) for one in answered),
        doubled=frame.attrs["duplicates"],
        unasked=len(logged.keys() - open_ids),
        by_version=dict(
            sorted(Counter(one.version for one in answered).items(), key=_version_order)
        ),
    )


def _version_order(item: tuple[str, int]) -> tuple[int, str]:
    return len(item[0]), item[0]


def quantile(replies: Sequence[Reply], share: float, status: int = 200) -> float:
    """Return the quantile `share` of the response times with `status`, in milliseconds."""
    return 1000 * float(
        np.quantile([one.seconds for one in replies if one.status == status], share)
    )
