"""Constant load of real cases on the stack, with the outcome of each request."""

import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Self

import httpx

from tests.use_case import USE_CASE

CLIENTS = 2


def cases(first: date, days: int = 3) -> list[dict[str, Any]]:
    """Return the request bodies of real cases that became known on these days."""
    found: list[dict[str, Any]] = []
    for number in range(days):
        rows = USE_CASE.fetch(USE_CASE.spine_feed, first + timedelta(days=number))
        found += [USE_CASE.payload(row) for row in USE_CASE.spine(rows).to_dict("records")]
    return found


@dataclass
class Load:
    """`CLIENTS` users in threads; each sends requests and notes the outcomes. A context manager."""

    url: str
    bodies: list[dict[str, Any]]
    token: str
    pause: float = 0.05  # seconds between two requests of a client
    acknowledged: list[str] = field(default_factory=list)
    failures: list[tuple[float, str]] = field(default_factory=list)
    last_good: float = 0.0

    def __enter__(self) -> Self:
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def wait_until_served(self, since: float, timeout: float) -> float:
        """Wait for two seconds without a failure; return the seconds from `since` to the last."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            last_failure = max((at for at, _ in list(self.failures)), default=since)
            if self.last_good > max(last_failure, since) + 2.0:
                return max(last_failure - since, 0.0)
            time.sleep(0.1)
        raise AssertionError(f"not served again within {timeout:.0f} s: {self.failures[-3:]}")

    def failures_since(self, since: float) -> str:
        """Return the number of failures since then, by kind, as text."""
        kinds: dict[str, int] = {}
        for at, what in list(self.failures):
            if at >= since:
                kinds[what] = kinds.get(what, 0) + 1
        return ", ".join(f"{count} × {what}" for what, count in kinds.items()) or "nothing"

    def _ask(self, number: int) -> None:
        headers = {"Authorization": f"Bearer {self.token}"}
        with httpx.Client(
            base_url=self.url, timeout=15, trust_env=False, headers=headers
        ) as client:
            while not self._stopping.wait(self.pause):
                number += CLIENTS
                request_id = f"chaos-{uuid.uuid4().hex}"
                body = self.bodies[number % len(self.bodies)]
                try:
                    answer = client.post(
                        "/predict", json=body, headers={"X-Request-Id": request_id}
                    )
                except httpx.HTTPError as error:
                    self.failures.append((time.monotonic(), type(error).__name__))
                    continue
                if answer.status_code == 200:
                    self.acknowledged.append(request_id)
                    self.last_good = time.monotonic()
                else:
                    self.failures.append((time.monotonic(), str(answer.status_code)))
