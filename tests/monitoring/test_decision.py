"""Each trigger on both sides of its limit, what holds a retraining back, and what is said of it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitoring.retraining_decision import HOLD_CODES, QUIET_CODE, decide_retraining
from monitoring.retraining_triggers import (
    TRIGGER_CODES,
    TRIGGER_LIMITS,
    MonitoringEvidence,
    MonitoringFinding,
)
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
    """Two slices of which the second has what is given."""
    well = {"slice": "side", "value": "north", "enough": True, "shown": 0.01, "due": 100,
            "missing": 0.0, "bias": 0.02}  # fmt: skip
    return [well, {**well, "value": "south", "shown": shown, "missing": missing, **changed}]


def quiet(**found: Any) -> MonitoringEvidence:
    """Evidence of a week in which nothing is wrong, but for what is given."""
    evidence = MonitoringEvidence(
        champion="3",
        data_until=AS_OF - 7 * DAY,
        n_labelled=5000,
        live=live(),
        expected={"cost_per_1000": 500.0},
        drift=drift(),
        slices=slices(),
    )
    return replace(evidence, **found)


def live(gap: float = 0.01, cost: float = 500.0) -> dict[str, float]:
    return {"calibration_gap": gap, "cost_per_1000": cost, "cost_without": 650.0}


def test_a_quiet_week_asks_for_nothing_and_says_why() -> None:
    decision = decide_retraining(quiet(), POLICY, AS_OF)
    assert not decision.retrain
    assert decision.codes == [QUIET_CODE]
    for part in ("ended 7 days ago", "mean label 0.01 (limit 0.05)", "evaluation's 1 (limit 1.25)"):
        assert part in decision.reason
    assert [each.fired for each in decision.triggers] == [False] * 10


@pytest.mark.parametrize(
    ("name", "evidence", "said"),
    [
        ("schedule", quiet(data_until=AS_OF - 14 * DAY), "ended 14 days ago (limit 14)"),
        ("calibration", quiet(live=live(gap=0.06)), "0.06 (limit 0.05)"),
        ("performance", quiet(live=live(cost=640.0)), "1.28 (limit 1.25)"),
        (
            "saving",
            quiet(live=live(cost=651.0), expected={"cost_per_1000": 600.0}),
            "one answer to all would cost 1 (limit 1)",
        ),
        ("slices", quiet(slices=slices(shown=0.1)), "0.1 (limit 0.08), at worst in side south"),
        ("labels", quiet(slices=slices(missing=0.4)), "0.4 (limit 0.15), at worst in side south"),
        ("target", quiet(drift=drift(target=0.2)), "evaluation's 0.2 (limit 0.15)"),
        ("drift", quiet(drift=drift(share=0.6)), "0.6 (limit 0.5)"),
        ("drift", quiet(drift=drift(moved=0.3)), "predictions moved 0.3 (limit 0.25)"),
        ("missing", quiet(drift=drift(missing=0.4)), "0.4 (limit 0.2)"),
    ],
)
def test_each_trigger_asks_for_a_retraining_if_the_policy_lets_it(
    name: str, evidence: MonitoringEvidence, said: str
) -> None:
    decision = decide_retraining(evidence, POLICY | {"triggers": [name]}, AS_OF)
    assert decision.retrain
    assert said in decision.reason
    assert [each.name for each in decision.triggers if each.fired] == [name]
    assert decision.codes == [TRIGGER_CODES[name]]


@pytest.mark.parametrize(
    "evidence",
    [
        quiet(data_until=AS_OF - 14 * DAY + timedelta(minutes=1)),
        quiet(live=live(gap=0.05)),
        quiet(live=live(cost=625.0)),
    ],
)
def test_at_the_limit_nothing_fires(evidence: MonitoringEvidence) -> None:
    assert not decide_retraining(evidence, POLICY, AS_OF).retrain


@pytest.mark.parametrize(
    ("name", "evidence", "said"),
    [
        ("slices", quiet(slices=slices(shown=0.2, enough=False)), None),
        ("slices", quiet(slices=[]), "no slice has labels enough"),
        ("slices", quiet(slices=None), "could not be measured"),
        ("labels", quiet(slices=slices(missing=1.0, due=29)), None),
        ("labels", quiet(slices=slices(due=0)[1:]), "too few are due"),
        ("labels", quiet(slices=None), "could not be measured"),
        ("target", quiet(drift=drift(target=None)), "could not be measured"),
        ("saving", quiet(live=None), "could not be measured"),
        ("saving", quiet(live=live() | {"cost_without": 0.0}), "could not be measured"),
        ("performance", quiet(expected={"cost_per_1000": 0.0}), "could not be measured"),
    ],
)
def test_what_is_too_small_or_not_measured_does_not_fire_and_says_so(
    name: str, evidence: MonitoringEvidence, said: str | None
) -> None:
    decision = decide_retraining(evidence, POLICY | {"triggers": [name]}, AS_OF)
    [trigger] = [each for each in decision.triggers if each.name == name]
    assert not trigger.fired
    if said:
        assert trigger.value is None
        assert said in trigger.told


@pytest.mark.parametrize(("days", "missing", "fires"), [
    (6.9, 0.5, False), (6.9, 0.51, True), (7.0, 0.2, False), (7.0, 0.21, True),
])  # fmt: skip
def test_in_a_few_days_more_must_be_missing(days: float, missing: float, fires: bool) -> None:
    evidence = quiet(drift=drift(missing=missing), days=days)
    assert decide_retraining(evidence, POLICY | {"triggers": ["missing"]}, AS_OF).retrain is fires


def test_labels_that_look_turned_around_are_not_learnt_by_themselves() -> None:
    off = quiet(live=live(gap=0.2), slices=slices(bias=-0.31))
    decision = decide_retraining(off, POLICY, AS_OF)
    assert not decision.retrain
    assert decision.codes == ["slice_implausible", "calibration_gap"]
    assert "0.31" in decision.reason
    assert decide_retraining(replace(off, slices=slices(bias=-0.3)), POLICY, AS_OF).retrain
    assert decide_retraining(replace(off, asked="they are right"), POLICY, AS_OF).retrain


def test_a_trigger_that_the_policy_does_not_name_is_shown_and_changes_nothing() -> None:
    decision = decide_retraining(quiet(drift=drift(share=0.6)), POLICY, AS_OF)
    assert not decision.retrain
    assert "no reason to retrain: share of drifted features 0.6" in decision.reason
    both = decide_retraining(quiet(drift=drift(share=0.6), live=live(gap=0.06)), POLICY, AS_OF)
    assert both.retrain
    assert "no reason to retrain: share of drifted features 0.6" in both.reason


def test_a_cool_down_holds_back_what_is_asked_for_and_says_so() -> None:
    asked = quiet(data_until=AS_OF - 20 * DAY, last_training=AS_OF - 2 * DAY)
    decision = decide_retraining(asked, POLICY, AS_OF)
    assert not decision.retrain
    assert decision.codes == ["cooldown", "schedule_due"]
    assert "2 days ago and 3 days must pass" in decision.reason
    assert "ended 20 days ago" in decision.reason
    assert decide_retraining(replace(asked, last_training=AS_OF - 3 * DAY), POLICY, AS_OF).retrain


def test_the_champions_own_training_counts_for_the_cool_down() -> None:
    fresh = quiet(data_until=AS_OF - DAY, live=live(gap=0.2))
    assert not decide_retraining(fresh, POLICY, AS_OF).retrain
    assert decide_retraining(fresh, POLICY | {"cool_down_days": 1}, AS_OF).retrain


def test_too_few_labels_are_not_judged_and_hold_a_retraining_back() -> None:
    few = quiet(n_labelled=999, live=live(gap=0.3), data_until=AS_OF - 14 * DAY)
    decision = decide_retraining(few, POLICY, AS_OF)
    assert not decision.retrain
    assert decision.codes == ["labels_few", "schedule_due"]
    assert "999 labels are known and 1,000 needed" in decision.reason
    assert {each.name: each.value for each in decision.triggers}["calibration"] is None
    assert decide_retraining(replace(few, n_labelled=1000), POLICY, AS_OF).retrain


def test_a_check_that_could_not_run_is_an_alarm_and_never_quiet() -> None:
    problems = (
        MonitoringFinding("drift_unmeasured", "drift (no value of amount)"),
        MonitoringFinding("performance_unmeasured", "performance"),
    )
    broken = quiet(live=None, drift=None, problems=problems)
    decision = decide_retraining(broken, POLICY, AS_OF)
    assert not decision.retrain
    assert decision.reason.startswith("ALARM, a check could not run: drift (no value of amount)")
    assert "could not be measured" in decision.reason
    measured = {each.name: each.value for each in decision.triggers}
    assert [measured[name] for name in ("calibration", "performance", "drift")] == [None] * 3
    due = decide_retraining(replace(broken, data_until=AS_OF - 14 * DAY), POLICY, AS_OF)
    assert due.retrain
    assert due.reason.startswith("ALARM")
    unmeasured = ["drift_unmeasured", "performance_unmeasured"]
    assert (decision.codes, due.codes) == ([*unmeasured, "quiet"], [*unmeasured, "schedule_due"])


def test_a_value_that_is_no_number_is_not_quiet() -> None:
    decision = decide_retraining(quiet(live=live(gap=float("nan"))), POLICY, AS_OF)
    assert "mean label: could not be measured" in decision.reason


def test_the_same_evidence_gives_the_same_decision() -> None:
    first, second = (
        decide_retraining(quiet(), POLICY, AS_OF),
        decide_retraining(quiet(), POLICY, AS_OF),
    )
    assert first == second
    assert first.decision_id == "20130415T000000Z-3"
    assert decide_retraining(quiet(champion="4"), POLICY, AS_OF).decision_id != first.decision_id
    assert decide_retraining(quiet(), POLICY, AS_OF + DAY).decision_id != first.decision_id
    assert datetime.fromisoformat(first.as_dict()["as_of"]) == AS_OF


def test_a_policy_that_is_not_whole_is_refused() -> None:
    with pytest.raises(UserError, match="calibratoin"):
        decide_retraining(quiet(), POLICY | {"triggers": ["calibratoin"]}, AS_OF)
    short = {name: value for name, value in POLICY.items() if name != "cool_down_days"}
    with pytest.raises(UserError, match="lacks cool_down_days"):
        decide_retraining(quiet(), short, AS_OF)


def test_new_labels_ask_by_their_number_if_the_policy_lets_them() -> None:
    policy = POLICY | {"triggers": ["volume"]}
    assert decide_retraining(quiet(n_new=20001), policy, AS_OF).retrain
    assert not decide_retraining(quiet(n_new=20000), policy, AS_OF).retrain
    assert "could not be counted" in decide_retraining(quiet(), policy, AS_OF).reason
    assert not decide_retraining(quiet(n_new=20001), POLICY, AS_OF).retrain


def test_a_person_who_asks_waits_for_no_cool_down_but_for_the_one_on_its_way() -> None:
    fresh = {"last_training": AS_OF - DAY, "asked": "a new season begins"}
    decision = decide_retraining(quiet(**fresh), POLICY | {"triggers": []}, AS_OF)
    assert decision.retrain
    assert "asked for: a new season begins" in decision.reason
    held = decide_retraining(quiet(**fresh, under_way="4"), POLICY, AS_OF)
    assert not held.retrain
    assert held.codes == ["under_way", "by_hand"]
    assert "version 4" in held.reason


def test_every_trigger_and_hold_has_a_code_of_its_own_and_the_documents_list_it() -> None:
    assert set(TRIGGER_CODES) == {*TRIGGER_LIMITS, "by hand"}
    codes = [*TRIGGER_CODES.values(), *HOLD_CODES, QUIET_CODE]
    assert len(set(codes)) == len(codes)
    document = (Path(__file__).parents[2] / "docs/monitoring.md").read_text()
    for code in codes:
        assert re.fullmatch(CODE_PATTERN, code)
        assert f"`{code}`" in document
    held = quiet(
        data_until=AS_OF - DAY, under_way="4", n_labelled=0, slices=slices(bias=0.9),
        live=live(), last_training=AS_OF,
    )  # fmt: skip
    found = decide_retraining(held, POLICY | {"every_days": 0}, AS_OF).codes
    assert found == [*HOLD_CODES, "schedule_due"]
