"""Evidence on a challenger beside the champion, from the prediction log; the policy judges it.

In shadow both models score every request, so pairs are compared. In a canary the hash of its key
assigns a request to one model, so arms are compared.
"""

from dataclasses import dataclass
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
    """Evidence on one challenger in one stage. `None`: not measurable.

    `days` counts days of decision (UTC) that are over; `cost` uses those whose labels are all due.
    `cost` is per 1,000 cases, `moved` in mean probability: challenger - champion.
    """

    requests: int = 0  # reached the challenger
    errors: int = 0  # requests that the challenger could not score
    days: int = 0
    slower_ms: float | None = None  # median scoring time: challenger - champion
    moved: Interval | None = None
    labels: int = 0
    coverage: float | None = None  # share of due labels that are known
    cost: Interval | None = None


def requests_in_stage(log: pd.DataFrame, version: str, stage: Stage) -> pd.DataFrame:
    """Return the requests of `log` that were answered while `version` was in `stage`."""
    log = log.reindex(columns=[*log.columns, *(name for name in ARM_COLUMNS if name not in log)])
    if stage == "shadow":
        return log[log["shadow_version"] == version]
    return log[(log["challenger_version"] == version) & log["shadow_version"].isna()]


def shadow_evidence(
    rows: pd.DataFrame, labels: pd.DataFrame, policy: dict[str, Any], costs: dict[str, float],
    as_of: datetime, *, horizon: timedelta,
) -> ArmEvidence:  # fmt: skip
    """Return the evidence of the mirrored requests `rows`, with the labels known by `as_of`."""
    shadow, harm = policy["shadow"], policy["harm"]
    scored = rows[rows["shadow_probability"].notna()]
    moved = (scored["shadow_probability"] - scored["probability"]).to_numpy(dtype="float64")
    slower = scored["shadow_ms"] - scored["scoring_ms"]
    due = scored[_day_end(scored) <= as_of - timedelta(hours=shadow["label_hours"])]
    joined = performance.join_labels(due, labels, as_of, horizon=horizon)
    known = joined[joined["label"].notna()].rename(columns={"shadow_probability": "challenger"})
    days = sequential.daily_paired_difference(
        known.astype({"challenger": "float64"}), costs, min_labels=shadow["day_labels"]
    )
    return ArmEvidence(
        requests=len(rows), errors=int(rows["shadow_error"].notna().sum()),
        days=_days_over(rows, as_of),
        slower_ms=float(slower.median()) if slower.notna().any() else None,
        moved=sequential.confidence_sequence(
            moved, spread=0.0, alpha=harm["alpha"], focus=harm["focus"]  # no minimum is planned
        ) if len(moved) > 1 else None,
        labels=len(known), coverage=performance.label_coverage(joined) if len(joined) else None,
        cost=sequential.confidence_sequence(
            days["difference"],
            spread=shadow["spread"], alpha=shadow["alpha"], focus=shadow["focus"],
        ) if len(days) else None,
    )  # fmt: skip


def canary_evidence(rows: pd.DataFrame, policy: dict[str, Any], as_of: datetime) -> ArmEvidence:
    """Return the evidence of the requests `rows` of both arms: harm only, labels come too late."""
    harm = policy["harm"]
    routed = rows[rows["arm"] == "challenger"]
    failed = routed["challenger_error"].notna()
    scored, champion = routed[~failed], rows[rows["arm"] == "champion"]
    slower = scored["scoring_ms"].median() - champion["scoring_ms"].median()
    return ArmEvidence(
        requests=len(routed), errors=int(failed.sum()), days=_days_over(rows, as_of),
        slower_ms=None if pd.isna(slower) else float(slower),
        moved=sequential.difference_of_means(
            scored["probability"], champion["probability"],
            alpha=harm["alpha"], focus=harm["focus"],
        ) if len(scored) > 1 and len(champion) > 1 else None,
    )  # fmt: skip


def _day_end(rows: pd.DataFrame) -> pd.Series:
    return rows["decision_time"].dt.floor("D") + timedelta(days=1)


def _days_over(rows: pd.DataFrame, as_of: datetime) -> int:
    ends = _day_end(rows)
    return int(ends[ends <= as_of].nunique())
