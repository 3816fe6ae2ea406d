"""The evidence for a retraining decision: facts on the champion, and measurements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class MonitoringFinding:
    """A stable `code` (snake_case), and `told` for people, whose words may change."""

    code: str
    told: str


@dataclass(frozen=True)
class MonitoringEvidence:
    """Facts on the champion, then the measurements of one look; times are aware UTC.

    `observation.observe_production` adds the measurements. A failed one is None and a problem.
    """

    champion: str
    data_until: datetime  # the champion was trained on labels known before
    expected: Mapping[str, Any]  # metrics of the champion's evaluation
    last_training: datetime | None = None  # its `as_of`; the champion's own if unset
    n_new: int | None = None  # labels that became known since the champion's data
    under_way: str | None = None  # version of the challenger in shadow or canary
    n_labelled: int = 0  # predictions of the window whose label is known
    live: Mapping[str, Any] | None = None  # result of `performance.live_metrics`
    drift: Mapping[str, Any] | None = None  # `drift.DriftResult` as a dict
    slices: Sequence[Mapping[str, Any]] | None = None  # result of `slices.measure_slices`
    days: float | None = None  # since the first decision of the window
    problems: Sequence[MonitoringFinding] = ()  # checks that could not run, and why
