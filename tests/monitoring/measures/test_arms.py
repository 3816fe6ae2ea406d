"""Evidence of a stage: only its own requests, complete days and due labels count."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from monitoring.measures import arms
from tests.slice_params import shipped_params

COSTS = {"false_alarm": 1.0, "miss": 4.0, "threshold": 0.2}
START = datetime(2013, 4, 1, tzinfo=UTC)
AT = pd.Timestamp(START)


@pytest.fixture(scope="module")
def policy() -> dict[str, Any]:
    rollout: dict[str, Any] = shipped_params()["rollout"]
    return {**rollout, "shadow": {**rollout["shadow"], "day_labels": 2}}


def mirrored(days: int, n: int = 4) -> pd.DataFrame:
    """`n` requests a day; version 1 scores each 0.1, and version 2 in shadow 0.3."""
    rows = [(day, i) for day in range(days) for i in range(n)]
    return pd.DataFrame({
        "key": [f"{day}-{i}" for day, i in rows],
        "decision_time": [AT + timedelta(days=day, hours=8 + i) for day, i in rows],
        "logged_at": AT, "probability": 0.1, "model_version": "1", "arm": "champion",
        "generation": 2, "scoring_ms": 0.1, "shadow_version": "2", "shadow_probability": 0.3,
        "shadow_ms": 0.6, "shadow_error": None, "challenger_version": "2",
        "challenger_error": None,
    })  # fmt: skip


def labels(rows: pd.DataFrame, hours: float = 3.0) -> pd.DataFrame:
    known = rows["decision_time"] + pd.Timedelta(hours=hours)
    return pd.DataFrame({"key": rows["key"], "label": 1, "known_at": known})


def test_shadow_evidence_uses_complete_days_whose_labels_are_due(policy: dict[str, Any]) -> None:
    rows = mirrored(3)
    noon = START + timedelta(days=2, hours=12)
    evidence = arms.shadow_evidence(rows, labels(rows), policy, COSTS, noon, horizon=timedelta(0))
    assert (evidence.requests, evidence.errors, evidence.days) == (12, 0, 2)
    assert evidence.cost is not None
    assert (evidence.cost.n, evidence.cost.mean, evidence.labels, evidence.coverage) == (
        2,
        -4000.0,
        8,
        1.0,
    )
    assert evidence.moved is not None
    assert evidence.moved.mean == pytest.approx(0.2)
    assert evidence.slower_ms == pytest.approx(0.5)
    before = arms.shadow_evidence(
        rows, labels(rows), policy, COSTS, noon - timedelta(minutes=1), horizon=timedelta(0)
    )
    assert (before.cost and before.cost.n, before.labels) == (1, 4)


def test_late_labels_lower_the_coverage(policy: dict[str, Any]) -> None:
    rows = mirrored(1)
    late = labels(rows)
    late.loc[1:, "known_at"] = AT + timedelta(days=9)
    evidence = arms.shadow_evidence(
        rows, late, policy, COSTS, START + timedelta(days=2), horizon=timedelta(0)
    )
    assert (evidence.coverage, evidence.labels, evidence.cost) == (0.25, 1, None)
    none = arms.shadow_evidence(
        rows, late[:0], policy, COSTS, START + timedelta(days=2), horizon=timedelta(0)
    )
    assert (none.coverage, none.labels, none.cost) == (0.0, 0, None)


def test_a_challenger_that_never_answers_has_errors_and_no_scores(policy: dict[str, Any]) -> None:
    rows = mirrored(1).assign(shadow_probability=None, shadow_error="RuntimeError: no")
    evidence = arms.shadow_evidence(
        rows, labels(rows), policy, COSTS, START + timedelta(days=2), horizon=timedelta(0)
    )
    assert (evidence.errors, evidence.moved, evidence.cost) == (4, None, None)


def test_requests_of_another_stage_or_version_do_not_count(policy: dict[str, Any]) -> None:
    shadow = mirrored(1)
    canary = mirrored(1).assign(shadow_version=None, generation=3)
    log = pd.concat([shadow, canary], ignore_index=True)
    assert (
        len(arms.requests_in_stage(log, "2", "shadow"))
        == len(arms.requests_in_stage(log, "2", "canary"))
        == 4
    )
    assert arms.requests_in_stage(log, "3", "shadow").empty
    assert arms.requests_in_stage(log, "3", "canary").empty
    old = log[["key", "decision_time", "logged_at", "probability", "model_version"]]
    assert arms.requests_in_stage(old, "2", "shadow").empty
    nothing = arms.shadow_evidence(
        arms.requests_in_stage(old, "2", "shadow"),
        labels(shadow),
        policy,
        COSTS,
        START,
        horizon=timedelta(0),
    )
    assert (nothing.requests, nothing.days, nothing.cost, nothing.moved) == (0, 0, None, None)
    idle = arms.canary_evidence(arms.requests_in_stage(old, "2", "canary"), policy, START)
    assert (idle.requests, idle.moved, idle.slower_ms) == (0, None, None)


def test_a_canary_is_compared_with_the_other_arm(policy: dict[str, Any]) -> None:
    rows = mirrored(2, n=10).assign(shadow_version=None)
    mine = rows.index % 2 == 0
    rows.loc[mine, ["arm", "probability", "scoring_ms"]] = ["challenger", 0.4, 7.1]
    rows.loc[[0, 2], ["challenger_error", "probability"]] = ["ValueError: NaN", 0.1]
    evidence = arms.canary_evidence(rows, policy, START + timedelta(days=1))
    assert (evidence.requests, evidence.errors, evidence.days) == (10, 2, 1)
    assert evidence.moved is not None
    assert (evidence.moved.n, evidence.moved.mean) == (8, pytest.approx(0.3))
    assert evidence.slower_ms == pytest.approx(7.0)
