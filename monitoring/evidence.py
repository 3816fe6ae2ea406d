"""What monitoring measures at one look: the evidence for the retraining decision."""

from __future__ import annotations

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
    """The measurements of one look; times are aware UTC. A failed check is None and a problem."""

    champion: str
    data_until: datetime  # the champion was trained on labels known before
    n_labelled: int  # predictions of the window whose label is known
    live: Mapping[str, Any] | None  # result of `performance.live_metrics`
    expected: Mapping[str, Any]  # the same metrics, of the champion's evaluation
    drift: Mapping[str, Any] | None  # `drift.DriftResult` as a dict
    problems: Sequence[MonitoringFinding] = ()  # checks that could not run, and why
    last_training: datetime | None = None  # its `as_of`; the champion's own if unset
    n_new: int | None = None  # labels that became known since the champion's data
    under_way: str | None = None  # version of the challenger in shadow or canary
    days: float | None = None  # since the first decision of the window
    slices: Sequence[Mapping[str, Any]] | None = None  # result of `slices.measure_slices`
