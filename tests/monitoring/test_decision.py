"""The retraining decision: each trigger on both sides of its limit, holds, codes and reasons."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitoring.retraining_decision import ALERT_ONLY, HOLD_CODES, QUIET_CODE, decide_retraining
from monitoring.retraining_triggers import TRIGGERS, MonitoringEvidence, MonitoringFinding
from settings import CODE_PATTERN, UserError

AS_OF = datetime(2013, 4, 15, tzinfo=UTC)
DAY = timedelta(days=1)
POLICY: dict[str, Any] = {
    "triggers": ["schedule", "calibration", "performance"],
    "every_days": 14,
    "max_calibration_gap": 0.05,
    "max_cost_ratio": 1.25,
    "max_cost_share": 1.0,
    "max_slice_gap": 0.08,
    "implausible_gap": 0.3,
    "max_labels_missing": 0.15,
    "min_labels_due": 30,
    "max_target_distance": 0.15,
    "max_drift_share": 0.5,
    "max_missing_change": 0.2,
    "settled_days": 7,
    "early_missing_change": 0.5,
    "max_new_labels": 20000,
    "cool_down_days": 3,
    "min_labelled": 1000,
}


def drift(
    share: float = 0.1, moved: float = 0.1, missing: float = 0.01, target: float | None = 0.05
) -> dict[str, Any]:
    prediction = {"score": moved, "limit": 0.25, "drifted": moved >= 0.25}
    labels = None if target is None else {"score": target}
    return {"share": share, "prediction": prediction, "missing_change": missing, "target": labels}


def slices(shown: float = 0.02, missing: float = 0.0, **changed: Any) -> list[dict[str, Any]]:
    """Two slices; the second has the given values."""
    first = {"slice": "side", "value": "north", "enough": True, "shown": 0.01, "due": 100,
            "missing": 0.0, "bias": 0.02}  # fmt: skip
    return [first, {**first, "value": "south", "shown": shown, "missing": missing, **changed}]


def quiet(**changed: Any) -> MonitoringEvidence:
    """Evidence of a week without any problem, except for the given changes."""
    evidence = MonitoringEvidence(
        champion="3",
        data_until=AS_OF - 7 * DAY,
        n_labelled=5000,
        live=live(),
        expected={"cost_per_1000": 500.0},
        drift=drift(),
        slices=slices(),
    )
    return replace(evidence, **changed)


def live(gap: float = 0.01, cost: float = 500.0) -> dict[str, float]:
    return {"calibration_gap": gap, "cost_per_1000": cost, "cost_without": 650.0}


def test_a_quiet_week_needs_no_retraining_and_the_reason_lists_the_triggers() -> None:
    decision = decide_retraining(quiet(), POLICY, AS_OF)
    assert not decision["retrain"]
    assert decision["codes"] == [QUIET_CODE]
    for part in (
        "ended 7 days ago",
        "mean label 0.01 (limit 0.05)",
        "the evaluation 1 (limit 1.25)",
    ):
        assert part in decision["reason"]
    assert [each["fired"] for each in decision["triggers"]] == [False] * 10


@pytest.mark.parametrize(
    ("name", "evidence", "reason"),
    [
        ("schedule", quiet(data_until=AS_OF - 14 * DAY), "ended 14 days ago (limit 14)"),
        ("calibration", quiet(live=live(gap=0.06)), "0.06 (limit 0.05)"),
        ("performance", quiet(live=live(cost=640.0)), "1.28 (limit 1.25)"),
        (
            "saving",
            quiet(live=live(cost=651.0), expected={"cost_per_1000": 600.0}),
            "one answer to all cases 1 (limit 1)",
        ),
        ("slices", quiet(slices=slices(shown=0.1)), "0.1 (limit 0.08), largest in side south"),
        ("labels", quiet(slices=slices(missing=0.4)), "0.4 (limit 0.15), largest in side south"),
        ("target", quiet(drift=drift(target=0.2)), "evaluation's 0.2 (limit 0.15)"),
        ("drift", quiet(drift=drift(share=0.6)), "0.6 (limit 0.5)"),
        ("drift", quiet(drift=drift(moved=0.3)), "predictions moved 0.3 (limit 0.25)"),
        ("missing", quiet(drift=drift(missing=0.4)), "0.4 (limit 0.2)"),
    ],
)
def test_each_trigger_asks_for_a_retraining_if_the_policy_lists_it(
    name: str, evidence: MonitoringEvidence, reason: str
) -> None:
    decision = decide_retraining(evidence, POLICY | {"triggers": [name]}, AS_OF)
    assert decision["retrain"]
    assert reason in decision["reason"]
    assert [each["name"] for each in decision["triggers"] if each["fired"]] == [name]
    assert decision["codes"] == [TRIGGERS[name].code]


@pytest.mark.parametrize(
    "evidence",
    [
        quiet(data_until=AS_OF - 14 * DAY + timedelta(minutes=1)),
        quiet(live=live(gap=0.05)),
        quiet(live=live(cost=625.0)),
    ],
)
def test_a_value_at_the_limit_does_not_fire(evidence: MonitoringEvidence) -> None:
    assert not decide_retraining(evidence, POLICY, AS_OF)["retrain"]


@pytest.mark.parametrize(
    ("name", "evidence", "reason"),
    [
        ("slices", quiet(slices=slices(shown=0.2, enough=False)), None),
        ("slices", quiet(slices=[]), "no slice has enough labels"),
        ("slices", quiet(slices=None), "could not be measured"),
        ("labels", quiet(slices=slices(missing=1.0, due=29)), None),
        ("labels", quiet(slices=slices(due=0)[1:]), "too few labels are due"),
        ("labels", quiet(slices=None), "could not be measured"),
        ("target", quiet(drift=drift(target=None)), "could not be measured"),
        ("saving", quiet(live=None), "no label is due yet"),
        (
            "saving",
            quiet(live=None, problems=[MonitoringFinding("performance_unmeasured", "")]),
            "could not be measured",
        ),
        ("saving", quiet(live=live() | {"cost_without": 0.0}), "could not be measured"),
        ("performance", quiet(expected={"cost_per_1000": 0.0}), "could not be measured"),
    ],
)
def test_a_value_that_cannot_be_judged_does_not_fire_and_says_why(
    name: str, evidence: MonitoringEvidence, reason: str | None
) -> None:
    decision = decide_retraining(evidence, POLICY | {"triggers": [name]}, AS_OF)
    [trigger] = [each for each in decision["triggers"] if each["name"] == name]
    assert not trigger["fired"]
    if reason:
        assert trigger["value"] is None
        assert reason in trigger["told"]


@pytest.mark.parametrize(("days", "missing", "fires"), [
    (6.9, 0.5, False), (6.9, 0.51, True), (7.0, 0.2, False), (7.0, 0.21, True),
])  # fmt: skip
def test_the_first_days_allow_a_larger_change_of_missing_values(
    days: float, missing: float, fires: bool
) -> None:
    evidence = quiet(drift=drift(missing=missing), days=days)
    assert (
        decide_retraining(evidence, POLICY | {"triggers": ["missing"]}, AS_OF)["retrain"] is fires
    )


def test_an_implausible_slice_holds_a_retraining_back() -> None:
    inverted = quiet(live=live(gap=0.2), slices=slices(bias=-0.31))
    decision = decide_retraining(inverted, POLICY, AS_OF)
    assert not decision["retrain"]
    assert decision["codes"] == ["slice_implausible", "calibration_gap"]
    assert "0.31" in decision["reason"]
    assert decide_retraining(replace(inverted, slices=slices(bias=-0.3)), POLICY, AS_OF)["retrain"]


def test_a_trigger_that_the_policy_does_not_list_only_alerts() -> None:
    decision = decide_retraining(quiet(drift=drift(share=0.6)), POLICY, AS_OF)
    assert not decision["retrain"]
    assert f"{ALERT_ONLY}share of drifted features 0.6" in decision["reason"]
    both = decide_retraining(quiet(drift=drift(share=0.6), live=live(gap=0.06)), POLICY, AS_OF)
    assert both["retrain"]
    assert f"{ALERT_ONLY}share of drifted features 0.6" in both["reason"]


def test_a_cool_down_holds_a_retraining_back() -> None:
    early = quiet(data_until=AS_OF - 20 * DAY, last_training=AS_OF - 2 * DAY)
    decision = decide_retraining(early, POLICY, AS_OF)
    assert not decision["retrain"]
    assert decision["codes"] == ["cooldown", "schedule_due"]
    assert "2 days ago (cool-down 3 days)" in decision["reason"]
    assert "ended 20 days ago" in decision["reason"]
    assert decide_retraining(replace(early, last_training=AS_OF - 3 * DAY), POLICY, AS_OF)[
        "retrain"
    ]


def test_the_champions_own_training_counts_for_the_cool_down() -> None:
    fresh = quiet(data_until=AS_OF - DAY, live=live(gap=0.2))
    assert not decide_retraining(fresh, POLICY, AS_OF)["retrain"]
    assert decide_retraining(fresh, POLICY | {"cool_down_days": 1}, AS_OF)["retrain"]


def test_too_few_labels_are_not_judged_and_hold_a_retraining_back() -> None:
    few = quiet(n_labelled=999, live=live(gap=0.3), data_until=AS_OF - 14 * DAY)
    decision = decide_retraining(few, POLICY, AS_OF)
    assert not decision["retrain"]
    assert decision["codes"] == ["labels_few", "schedule_due"]
    assert "999 labels are known and 1,000 needed" in decision["reason"]
    assert {each["name"]: each["value"] for each in decision["triggers"]}["calibration"] is None
    assert decide_retraining(replace(few, n_labelled=1000), POLICY, AS_OF)["retrain"]


def test_a_check_that_could_not_run_is_an_alarm() -> None:
    problems = (
        MonitoringFinding("drift_unmeasured", "drift (no value of amount)"),
        MonitoringFinding("performance_unmeasured", "performance"),
    )
    broken = quiet(live=None, drift=None, problems=problems)
    decision = decide_retraining(broken, POLICY, AS_OF)
    assert not decision["retrain"]
    assert decision["reason"].startswith("ALARM, a check could not run: drift (no value of amount)")
    assert "could not be measured" in decision["reason"]
    measured = {each["name"]: each["value"] for each in decision["triggers"]}
    assert [measured[name] for name in ("calibration", "performance", "drift")] == [None] * 3
    due = decide_retraining(replace(broken, data_until=AS_OF - 14 * DAY), POLICY, AS_OF)
    assert due["retrain"]
    assert due["reason"].startswith("ALARM")
    unmeasured = ["drift_unmeasured", "performance_unmeasured"]
    assert (decision["codes"], due["codes"]) == (
        [*unmeasured, "quiet"],
        [*unmeasured, "schedule_due"],
    )


def test_a_value_of_nan_counts_as_not_measured() -> None:
    decision = decide_retraining(quiet(live=live(gap=float("nan"))), POLICY, AS_OF)
    assert "mean label: could not be measured" in decision["reason"]


def test_the_same_evidence_gives_the_same_decision() -> None:
    first, second = (
        decide_retraining(quiet(), POLICY, AS_OF),
        decide_retraining(quiet(), POLICY, AS_OF),
    )
    assert first == second
    assert first["decision_id"] == "20130415T000000Z-3"
    assert (
        decide_retraining(quiet(champion="4"), POLICY, AS_OF)["decision_id"] != first["decision_id"]
    )
    assert decide_retraining(quiet(), POLICY, AS_OF + DAY)["decision_id"] != first["decision_id"]
    assert datetime.fromisoformat(first["as_of"]) == AS_OF


def test_an_incomplete_policy_is_refused() -> None:
    with pytest.raises(UserError, match="calibratoin"):
        decide_retraining(quiet(), POLICY | {"triggers": ["calibratoin"]}, AS_OF)
    short = {name: value for name, value in POLICY.items() if name != "cool_down_days"}
    with pytest.raises(UserError, match="missing: cool_down_days"):
        decide_retraining(quiet(), short, AS_OF)


def test_the_number_of_new_labels_asks_if_the_policy_lists_it() -> None:
    policy = POLICY | {"triggers": ["volume"]}
    assert decide_retraining(quiet(n_new=20001), policy, AS_OF)["retrain"]
    assert not decide_retraining(quiet(n_new=20000), policy, AS_OF)["retrain"]
    assert (
        "new labels: could not be measured" in decide_retraining(quiet(), policy, AS_OF)["reason"]
    )
    assert not decide_retraining(quiet(n_new=20001), POLICY, AS_OF)["retrain"]


def test_every_trigger_and_hold_has_a_code_of_its_own_and_the_documents_list_it() -> None:
    codes = [*(each.code for each in TRIGGERS.values()), *HOLD_CODES, QUIET_CODE]
    assert len(set(codes)) == len(codes)
    document = (Path(__file__).parents[2] / "docs/monitoring.md").read_text()
    for code in codes:
        assert re.fullmatch(CODE_PATTERN, code)
        assert f"`{code}`" in document
    held_back = quiet(
        data_until=AS_OF - DAY, under_way="4", n_labelled=0, slices=slices(bias=0.9),
        live=live(), last_training=AS_OF,
    )  # fmt: skip
    decision = decide_retraining(held_back, POLICY | {"every_days": 0}, AS_OF)
    assert decision["codes"] == [*HOLD_CODES, "schedule_due"]
