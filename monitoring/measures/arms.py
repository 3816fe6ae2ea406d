"""What does the prediction log show of a challenger beside the champion? Evidence, and no verdict.

In the shadow every request is scored by both models: the pair is compared. In a canary the hash of
its key gives a request to one of them: the arms are compared.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from monitoring.measures import performance, sequential
from monitoring.measures.sequential import Interval
from serving.release.document import Stage

ARM_COLUMNS = (
    "arm", "generation", "scoring_ms", "shadow_version", "shadow_probability", "shadow_ms",
    "shadow_error", "challenger_version", "challenger_error",
)  # fmt: skip


@dataclass(frozen=True)
class ArmEvidence:
    """Of one challenger in one stage. `None`: could not be measured, or has nothing to be had of.

    `days` are days of decision (UTC) that are over; of those counted in `cost`, all labels due are
    in. Costs are per 1,000 cases, the challenger's less the champion's, and so is `moved`, in mean
    probability.
    """

    requests: int = 0  # that reached the challenger
    errors: int = 0  # of them it could not score
    days: int = 0
    slower_ms: float | None = None  # median of a score's time, beyond the champion's
    moved: Interval | None = None
    labels: int = 0
    coverage: float | None = None  # share of the labels due that are known
    cost: Interval | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def requests_in_stage(log: pd.DataFrame, version: str, stage: Stage) -> pd.DataFrame:
    """The requests of `log` that were answered while `version` was in `stage`."""
    log = log.reindex(columns=[*log.columns, *(name for name in ARM_COLUMNS if name not in log)])
    if stage == "shadow":
        return log[log["shadow_version"] == version]
    return log[(log["challenger_version"] == version) & log["shadow_version"].isna()]


def shadow_evidence(
    rows: pd.DataFrame, labels: pd.DataFrame, policy: dict[str, Any], costs: dict[str, float],
    as_of: datetime,
) -> ArmEvidence:  # fmt: skip
    """The evidence of the mirrored requests `rows`, with the labels known by `as_of`."""
    shadow, harm = policy["shadow"], policy["harm"]
    scored = rows[rows["shadow_probability"].notna()]
    moved = (scored["shadow_probability"] - scored["probability"]).to_numpy(dtype="float64")
    slower = scored["shadow_ms"] - scored["scoring_ms"]
    due = scored[_day_end(scored) <= as_of - timedelta(hours=shadow["label_hours"])]
    joined = performance.join_labels(due, labels, as_of)
    known = joined[joined["label"].notna()].rename(columns={"shadow_probability": "rival"})
    days = sequential.daily_paired_difference(
        known.astype({"rival": "float64"}), costs, min_labels=shadow["day_labels"]
    )
    spread = float(moved.std(ddof=1)) if len(moved) > 1 else 0.0
    return ArmEvidence(
        requests=len(rows), errors=int(rows["shadow_error"].notna().sum()),
        days=_days_over(rows, as_of),
        slower_ms=float(slower.median()) if slower.notna().any() else None,
        moved=sequential.confidence_sequence(
            moved, spread=spread, alpha=harm["alpha"], focus=harm["focus"]
        ) if len(moved) > 1 else None,
        labels=len(known), coverage=performance.label_coverage(joined) if len(joined) else None,
        cost=sequential.confidence_sequence(
            days["difference"],
            spread=shadow["spread"], alpha=shadow["alpha"], focus=shadow["focus"],
        ) if len(days) else None,
    )  # fmt: skip


def canary_evidence(rows: pd.DataFrame, policy: dict[str, Any], as_of: datetime) -> ArmEvidence:
    """The evidence of the requests `rows` of both arms: harm alone, for labels come too late."""
    harm = policy["harm"]
    routed = rows[rows["arm"] == "challenger"]
    failed = routed["challenger_error"].notna()
    answered, champion = routed[~failed], rows[rows["arm"] == "champion"]
    slower = answered["scoring_ms"].median() - champion["scoring_ms"].median()
    return ArmEvidence(
        requests=len(routed), errors=int(failed.sum()), days=_days_over(rows, as_of),
        slower_ms=None if pd.isna(slower) else float(slower),
        moved=sequential.difference_of_means(
            answered["probability"], champion["probability"],
            alpha=harm["alpha"], focus=harm["focus"],
        ) if len(answered) > 1 and len(champion) > 1 else None,
    )  # fmt: skip


def _day_end(rows: pd.DataFrame) -> pd.Series:
    return rows["decision_time"].dt.floor("D") + timedelta(days=1)


def _days_over(rows: pd.DataFrame, as_of: datetime) -> int:
    ends = _day_end(rows)
    return int(ends[ends <= as_of].nunique())
