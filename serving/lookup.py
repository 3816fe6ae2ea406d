"""Feature lookup in the online store, with a time budget and a circuit breaker.

A slow or unreachable store costs its budget once; the next lookups skip it for a second. Meanwhile
the model sees every stored feature as missing. It is trained for that, and the response is marked
as degraded: docs/decisions/11-without-the-online-store.md.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from features.online_reader import IncompleteError, OnlineReader, OnlineRow
from serving.metrics import Metrics
from settings import LoopError

logger = logging.getLogger("serving")
PAUSE_SECONDS = 1.0


class FeatureLookup:
    """The online store behind a time budget and a circuit breaker."""

    def __init__(self, reader: OnlineReader, metrics: Metrics) -> None:
        self._reader, self._metrics = reader, metrics
        self._paused_until = 0.0  # of time.monotonic
        self._reason = ""  # code of the last failure

    def read(
        self, entity_rows: Sequence[Mapping[str, Any]], decision_times: Sequence[datetime]
    ) -> tuple[list[OnlineRow], bool]:
        """Return a row for each case, and True if the store could not be read."""
        metrics, rows = self._metrics, None
        if time.monotonic() >= self._paused_until:
            try:
                rows = self._reader.read(entity_rows, decision_times)
            except LoopError as error:
                self._paused_until = time.monotonic() + PAUSE_SECONDS
                incomplete = isinstance(error, IncompleteError)
                self._reason = "incomplete" if incomplete else "unreachable"
                logger.warning("features count as missing: %s", error)
        if rows is None:
            metrics.lookups.labels("fallback", self._reason).inc(len(entity_rows))
            return self._reader.read_without_store(entity_rows), True
        metrics.lookups.labels("found", "").inc(len(rows))
        for row, at in zip(rows, decision_times, strict=True):
            values = list(row.values.values())
            metrics.missing.observe(values.count(None) / len(values))
            if row.as_of is not None:
                metrics.feature_age.observe((at - row.as_of).total_seconds())
        return rows, False
