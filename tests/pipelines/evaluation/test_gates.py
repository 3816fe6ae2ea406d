"""Each gate passes a good case and refuses a bad one."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from contract import Change
from pipelines.evaluation.evaluate import CANDIDATE_GATES
from pipelines.evaluation.gates import champion_and_baseline as compared
from pipelines.evaluation.gates import (
    refit_gates,
    soundness,
    source_gates,
)
from pipelines.evaluation.gates.verdict import GateInputs, Limits, Verdict, run_gates, verdict_code
from settings import CODE_PATTERN
from tests.slice_params import shipped_params

N, N_POSITIVE = 4000, 1000
COSTS = {"false_alarm": 1.0, "miss": 4.0, "threshold": 0.2}
# Powers of two where a case is exactly at the limit, so that rounding has no effect.
LIMITS: dict[str, Any] = {
    "min_train": 1000, "min_holdout": 500, "max_label_age_days": 2, "min_saving": 0.25,
    "margin_cost": 31.25, "margin_log_loss": 0.01, "max_calibration_gap": 0.125,
    "min_slice": 1000, "max_slice_ratio": 1.25, "max_auc": 0.8, "behaviour_rows": 200,
    "min_days": 5, "margin_slice_cost": 62.5, "margin_slice_proof": 125.0,
    "min_slice_compared": 1000, "slice_alpha": 0.05, "max_column_auc": 0.75,
    "max_slice_calibration_gap": 0.1, "min_slice_errors": 100, "max_error_excess": 0.2,
    "min_value_cases": 20, "max_value_rate": 0.9,
}  # fmt: skip
LABEL = np.tile([1, 0, 0, 0], N // 4)
POSITIVE, NEGATIVE = np.flatnonzero(LABEL == 1), np.flatnonzero(LABEL == 0)
# Calibrated at 0.4375 and 0.125; costs 525, with an AUC of 0.7.
FAIR = {"misses": 300, "false_alarms": 900, "low": 0.125, "high": 0.4375}
MANIFEST = {
    "as_of": "2020-05-01T00:00:00+00:00", "newest_label": "2020-04-30T00:00:00+00:00",
    "n_train": 5000, "n_holdout": N,
}  # fmt: skip
NO_VALUE = {"side": pd.Series(np.nan, range(N), dtype=object)}  # a kind of slices, but no slice


def scores(
    *, misses: int = 0, false_alarms: int = 0, low: float = 0.1, high: float = 0.9
) -> np.ndarray:
    """Return `high` where the label is 1, else `low`, with errors spread over all rows."""
    prob = np.where(LABEL == 1, high, low)
    for rows, n_wrong, value in ((POSITIVE, misses, low), (NEGATIVE, false_alarms, high)):
        prob[rows[np.linspace(0, len(rows) - 1, n_wrong).astype(int)]] = value
    return prob


def cost(prob: np.ndarray) -> float:
    alarm = prob >= COSTS["threshold"]
    return float(1000 * np.mean(np.where(LABEL == 1, 4.0 * ~alarm, 1.0 * alarm)))


def gate_inputs(**changes: Any) -> GateInputs:
    """Sound inputs: 20 days, a fair candidate, a baseline that always alarms, no champion."""
    hours = pd.date_range("2020-04-10", periods=N, freq="7min", tz="UTC")
    sides = pd.Series(np.where(np.arange(N) < N // 2, "north", "south"))
    defaults = {
        "frame": pd.DataFrame(
            {"key": np.arange(N), "label": LABEL, "decision_time": hours, "x": noise()}
        ),
        "candidate": scores(**FAIR),
        "baseline": np.full(N, N_POSITIVE / N),
        "champion": None,
        "predict": lambda rows: np.full(len(rows), 0.5),
        "slices": {"side": sides},
        "manifest": MANIFEST,
        "costs": COSTS,
        "seed": 1,
        "behaviours": lambda predict, rows, limits: {"some": Change(predict(rows).min(), 0.0)},
        "columns": ["x"],
    }
    for name, change in changes.pop("cells", {}).items():
        defaults["frame"] = defaults["frame"].assign(**{name: change(defaults["frame"][name])})
    return GateInputs(**(defaults | changes))


def noise() -> np.ndarray:
    return np.random.default_rng(2).normal(size=N)


def cells(**changes: Callable[[pd.Series], Any]) -> dict[str, Any]:
    """The sound inputs with changed columns."""
    return {"cells": changes}


def south(prob: Callable[[np.ndarray], Any]) -> dict[str, Any]:
    """The fair candidate, with other probabilities for the south."""
    changed = scores(**FAIR)
    changed[N // 2 :] = prob(changed[N // 2 :])
    return {"candidate": changed}


def alternating_in_the_south() -> dict[str, Any]:
    """In the south, perfect on one day and without any alarm on the next."""
    day = pd.date_range("2020-04-10", periods=N, freq="7min", tz="UTC").day.to_numpy()
    return south(lambda _: np.where(day % 2 == 0, scores(), 0.1)[N // 2 :])


def gaps(where: np.ndarray) -> Callable[[pd.Series], pd.Series]:
    """40 gaps among these rows, over all days."""
    return lambda x: x.mask(x.index.isin(where[np.linspace(0, len(where) - 1, 40).astype(int)]))


def manifest(**changes: Any) -> dict[str, Any]:
    return {"manifest": MANIFEST | changes}


def candidate(**wrong: Any) -> dict[str, Any]:
    return {"candidate": scores(**wrong)}


def against(champion: np.ndarray, **wrong: Any) -> dict[str, Any]:
    return {"champion": champion, "candidate": scores(**wrong)}


def one_bad_slice(ratio: float) -> dict[str, Any]:
    """A candidate perfect in the north, at `ratio` times the baseline's cost in the south."""
    prob = scores()
    south = POSITIVE[POSITIVE >= N // 2]
    n_misses = int(ratio * 0.75 * (N // 2) / 4)  # the baseline alarms on the 75% of label 0
    prob[south[:n_misses]] = 0.1
    return {"candidate": prob}


def sliced(n_north: int) -> dict[str, Any]:
    others = (np.arange(N) // 500).astype(str)  # no more than 500 cases each
    return {"slices": {"side": pd.Series(np.where(np.arange(N) < n_north, "north", others))}}


def constant(prob: float) -> np.ndarray:
    return np.full(N, prob)


# Champion and candidate differ by `false_alarms / N * 1000`: 125 of 4,000 are 31.25 per 1,000.
CHAMPION = scores(misses=100, false_alarms=500)
CASES: list[tuple[str, Callable[..., Verdict], dict[str, Any], bool]] = [
    ("enough cases", soundness.data_is_sound, manifest(n_train=1000, n_holdout=500), True),
    ("too few to train", soundness.data_is_sound, manifest(n_train=999), False),
    ("too few to judge", soundness.data_is_sound, manifest(n_holdout=499), False),
    ("labels at the limit", soundness.data_is_sound,
     manifest(newest_label="2020-04-29T00:00:00+00:00"), True),
    ("labels too old", soundness.data_is_sound,
     manifest(newest_label="2020-04-28T23:59:59+00:00"), False),
    ("label from the future", soundness.data_is_sound,
     manifest(newest_label="2020-05-01T00:00:01+00:00"), False),
    # The baseline costs 750; a quarter less is 562.5, which 2,250 false alarms cost.
    ("saves just enough", compared.beats_the_baseline, candidate(false_alarms=2250), True),
    ("saves too little", compared.beats_the_baseline, candidate(false_alarms=2251), False),
    ("dearer than no model", compared.beats_the_baseline, candidate(misses=1000), False),
    ("no champion", compared.not_worse_than_the_champion, {}, True),
    ("as good as the champion", compared.not_worse_than_the_champion, {"champion": CHAMPION,
     "candidate": CHAMPION.copy()}, True),
    ("worse within the margin", compared.not_worse_than_the_champion,
     against(CHAMPION, misses=100, false_alarms=600), True),
    # The mean is within the margin; the upper bound of the interval is not.
    ("worse by the margin", compared.not_worse_than_the_champion,
     against(CHAMPION, misses=100, false_alarms=625), False),
    ("worse beyond the margin", compared.not_worse_than_the_champion,
     against(CHAMPION, misses=100, false_alarms=700), False),
    ("too few days for an interval", compared.not_worse_than_the_champion,
     {"champion": CHAMPION, "candidate": CHAMPION.copy(),
      **cells(decision_time=lambda times: times.min() + (times - times.min()) / 5)}, False),
    ("no champion in any slice", compared.no_slice_worse_than_the_champion, {}, True),
    ("as good in every slice", compared.no_slice_worse_than_the_champion,
     {"champion": CHAMPION, "candidate": CHAMPION.copy()}, True),
    ("one slice worse", compared.no_slice_worse_than_the_champion,
     {"champion": scores(**FAIR), **south(lambda prob: prob * 0 + 0.1)}, False),
    ("no champion for slices", compared.no_slice_left_in_doubt, {}, True),
    ("equal in every slice", compared.no_slice_left_in_doubt,
     {"champion": CHAMPION, "candidate": CHAMPION.copy()}, True),
    # Not worse overall, but unstable over days: neither harm nor its absence is shown.
    ("one slice alternates", compared.no_slice_worse_than_the_champion,
     {"champion": scores(**FAIR), **alternating_in_the_south()}, True),
    ("one slice in doubt", compared.no_slice_left_in_doubt,
     {"champion": scores(**FAIR), **alternating_in_the_south()}, False),
    ("no slice to compare", compared.no_slice_left_in_doubt,
     {"champion": CHAMPION, "candidate": CHAMPION.copy(), "slices": NO_VALUE}, False),
    ("whole", soundness.data_is_valid, {}, True),
    ("a case twice", soundness.data_is_valid, cells(key=lambda key: key.clip(1)), False),
    ("a label of 2", soundness.data_is_valid,
     cells(label=lambda label: label.replace(1, 2)), False),
    ("an infinite value", soundness.data_is_valid, cells(x=lambda x: x.mask(x > 3, np.inf)), False),
    ("a column without values", soundness.data_is_valid, cells(x=lambda x: x * np.nan), False),
    ("a column that is absent", soundness.data_is_valid, {"columns": ["x", "y"]}, False),
    ("calibrated in both slices", soundness.calibrated_in_slices,
     {"candidate": constant(0.25)}, True),
    ("calibrated only on average", soundness.calibrated_in_slices,
     {"candidate": np.where(np.arange(N) < N // 2, 0.1, 0.4)}, False),
    ("errors as predicted", soundness.errors_are_even, {}, True),
    ("more errors in the south", soundness.errors_are_even,
     south(np.random.default_rng(0).permutation), False),
    ("a column of noise", soundness.no_column_too_good, {}, True),
    ("a column that ranks", soundness.no_column_too_good,
     cells(x=lambda x: x + 2 * LABEL), False),
    ("a column that ranks backwards", soundness.no_column_too_good,
     cells(x=lambda x: x - 2 * LABEL), False),
    ("a text column that reveals the label", soundness.no_column_too_good,
     cells(x=lambda x: np.where(LABEL == 1, "a", "b")), False),
    ("gaps here and there", soundness.no_value_tells, cells(x=gaps(np.arange(N))), True),
    ("gaps where the label is 1", soundness.no_value_tells, cells(x=gaps(POSITIVE)), False),
    ("gaps in one bad hour", soundness.no_value_tells,
     cells(x=lambda x: x.mask(x.index.isin(POSITIVE[:40]))), True),
    ("a value where the label is 1", soundness.no_value_tells,
     cells(x=lambda x: gaps(POSITIVE)(x).fillna(-1.0)), False),
    ("log-loss of the champion", compared.log_loss_holds, against(CHAMPION, misses=100,
     false_alarms=500), True),
    ("log-loss 0.004 above the champion's", compared.log_loss_holds,
     {"champion": constant(0.25), "candidate": constant(0.29)}, True),
    ("log-loss 0.015 above the champion's", compared.log_loss_holds,
     {"champion": constant(0.25), "candidate": constant(0.33)}, False),
    ("log-loss below the baseline's", compared.log_loss_holds, candidate(false_alarms=600), True),
    ("confident and wrong", compared.log_loss_holds, candidate(low=0.001, high=0.999,
     misses=200, false_alarms=600), False),
    ("calibrated", soundness.calibrated, {"candidate": constant(0.25)}, True),
    ("off by the limit", soundness.calibrated, {"candidate": constant(0.375)}, True),
    ("too high", soundness.calibrated, {"candidate": constant(0.376)}, False),
    ("too low", soundness.calibrated, {"candidate": constant(0.124)}, False),
    ("every slice good", soundness.slices_hold, {}, True),
    ("a slice at the limit", soundness.slices_hold, one_bad_slice(1.25), True),
    ("one bad slice", soundness.slices_hold, one_bad_slice(1.3), False),
    ("smallest slice that counts", soundness.slices_hold, sliced(1000), True),
    ("small ones pooled", soundness.slices_hold, sliced(999), True),
    ("small ones pooled, and bad", soundness.slices_hold,
     sliced(0) | {"candidate": constant(0.1)}, False),
    ("no slice with enough cases", soundness.slices_hold, {"slices": NO_VALUE}, False),
    ("a good model", soundness.not_too_good_to_be_true, {}, True),
    ("too good to be true", soundness.not_too_good_to_be_true,
     candidate(misses=100, false_alarms=100), False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("gate", "changes", "passed"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_gate(gate: Callable[..., Verdict], changes: dict[str, Any], passed: bool) -> None:
    verdict = gate(gate_inputs(**changes), LIMITS)
    assert verdict.passed is passed, verdict
    if verdict.margin is not None:
        assert verdict.margin >= 0 if passed else verdict.margin < 0


def test_every_gate_has_a_passing_and_a_failing_case() -> None:
    """`behaves` has its cases beside the tests of the use case, in its `test_evaluation.py`."""
    assert soundness.behaves in CANDIDATE_GATES
    generic = set(CANDIDATE_GATES) - {soundness.behaves}
    for outcome in (True, False):
        assert {gate for _, gate, _, passed in CASES if passed is outcome} == generic


def test_verdict_has_value_limit_and_comparison() -> None:
    prob = scores(misses=250)
    verdict = compared.beats_the_baseline(gate_inputs(candidate=prob), LIMITS)
    assert verdict.value == cost(prob) == 250.0
    assert verdict.limit == 562.5
    assert "750" in verdict.told

    verdict = compared.not_worse_than_the_champion(
        gate_inputs(champion=CHAMPION, candidate=scores(misses=100, false_alarms=580)), LIMITS
    )
    assert f"{80 / N * 1000:+.1f}, 90% interval" in verdict.told
    limit = LIMITS["margin_cost"]
    assert verdict.told.endswith(
        f"; shown not to be worse by more than {limit:g}, not shown to be superior"
    )
    refused = compared.not_worse_than_the_champion(
        gate_inputs(champion=CHAMPION, candidate=scores(misses=100, false_alarms=680)), LIMITS
    )
    assert not refused.passed
    assert refused.told.endswith(f"; may be worse by more than {limit:g}")
    better = compared.not_worse_than_the_champion(
        gate_inputs(champion=CHAMPION, candidate=scores(misses=50, false_alarms=400)), LIMITS
    )
    assert better.told.endswith("; superior")


def test_log_loss_is_compared_with_the_champion_if_there_is_one() -> None:
    with_champion = gate_inputs(champion=constant(0.25) + np.where(LABEL == 1, 0.2, -0.1))
    assert "champion" in compared.log_loss_holds(with_champion, LIMITS).told
    alone = compared.log_loss_holds(gate_inputs(), LIMITS)
    assert "baseline" in alone.told
    # No margin above the baseline: a model must be better than none.
    assert not compared.log_loss_holds(gate_inputs(candidate=constant(0.26)), LIMITS).passed


def test_gate_is_named_as_its_function() -> None:
    for gate in CANDIDATE_GATES:
        verdict = run_gates(gate_inputs(champion=CHAMPION), LIMITS, [gate])[0]
        assert verdict["gate"] == gate.__name__.replace("_", " ")


def test_every_gate_has_a_unique_code_that_the_documents_list() -> None:
    every = [*CANDIDATE_GATES, *refit_gates.REFIT_GATES, *source_gates.SOURCE_GATES]
    codes = [run_gates(None, {}, [each])[0]["code"] for each in every]
    assert codes == [each.__name__ for each in every]
    assert len(set(codes)) == len(every)
    document = (Path(__file__).parents[3] / "docs/gates.md").read_text()
    assert all(re.fullmatch(CODE_PATTERN, code) and f"`{code}`" in document for code in codes)
    assert f"{len(every)} gates" in document
    assert verdict_code({"gate": "data is sound"}) == "data_is_sound", "stored by an older version"
    assert verdict_code({"gate": "sound data", "code": "data_is_sound"}) == "data_is_sound"


def test_holm_adjusts_no_more_than_needed() -> None:
    assert compared.holm_adjust(np.array([0.01, 0.04, 0.03])).tolist() == pytest.approx(
        [0.03, 0.06, 0.06]
    )
    assert compared.holm_adjust(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]


def test_worst_slice_is_named() -> None:
    assert (
        "side south (2,000 cases)"
        in soundness.slices_hold(gate_inputs(**one_bad_slice(1.3)), LIMITS).told
    )


@pytest.mark.parametrize(
    ("passed", "value", "limit", "margin"),
    [(True, 3.0, 5.0, 2.0), (False, 7.0, 5.0, -2.0), (True, 7.0, 5.0, 2.0), (True, 5.0, 5.0, 0.0),
     (False, None, 5.0, None), (True, None, 5.0, None), (False, None, None, None)],
)  # fmt: skip
def test_margin_is_positive_inside_and_negative_outside(
    passed: bool, value: float | None, limit: float | None, margin: float | None
) -> None:
    verdict = Verdict(passed, value, limit, "")
    assert verdict.margin == margin
    [stored] = run_gates(None, {}, [lambda inputs, limits: verdict])
    assert json.loads(json.dumps(stored))["margin"] == margin


def test_sound_training_passes_all_generic_gates() -> None:
    generic = tuple(gate for gate in CANDIDATE_GATES if gate is not soundness.behaves)
    assert len(generic) == 14
    verdicts = run_gates(gate_inputs(), LIMITS, generic)
    assert [verdict["passed"] for verdict in verdicts] == [True] * 14, verdicts


def test_what_the_use_case_does_not_state_is_told() -> None:
    inputs = gate_inputs(champion=CHAMPION, slices={}, behaviours=lambda *_: {})
    stated = [each for each in run_gates(inputs, LIMITS, CANDIDATE_GATES) if each["limit"] is None]
    assert {each["code"] for each in stated} == {
        "calibrated_in_slices", "slices_hold", "errors_are_even", "behaves",
        "no_slice_worse_than_the_champion", "no_slice_left_in_doubt",
    }  # fmt: skip
    assert all(each["told"].startswith("none stated: ") and each["passed"] for each in stated)


def test_gate_that_raises_fails_with_its_error() -> None:
    def broken(rows: pd.DataFrame) -> np.ndarray:
        raise KeyError("a column that is gone")

    verdict = run_gates(gate_inputs(predict=broken), LIMITS, (soundness.behaves,))[0]
    assert not verdict["passed"]
    assert verdict["gate"] == "behaves"
    assert "could not run: KeyError" in verdict["told"]
    assert "a column that is gone" in verdict["told"]


def test_other_gates_run_after_one_that_raises() -> None:
    short = gate_inputs(champion=np.array([0.5, 0.5]))
    verdicts = run_gates(
        short, LIMITS, (compared.not_worse_than_the_champion, soundness.calibrated)
    )
    assert [verdict["passed"] for verdict in verdicts] == [False, True]


@pytest.mark.parametrize(
    "gate",
    [each for each in CANDIDATE_GATES if each not in (soundness.behaves, soundness.data_is_valid)],
)
def test_gate_without_its_limits_fails(gate: Callable[..., Verdict]) -> None:
    verdict = run_gates(gate_inputs(champion=CHAMPION), {}, (gate,))[0]
    assert not verdict["passed"]
    assert "could not run: KeyError" in verdict["told"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_value_that_is_not_finite_fails(value: float) -> None:
    def claims(inputs: GateInputs, limits: Limits) -> Verdict:
        return Verdict(True, value, 1.0, "always passes")

    verdict = run_gates(gate_inputs(), LIMITS, (claims,))[0]
    assert not verdict["passed"]
    assert verdict["value"] is None
    assert "not finite" in verdict["told"]


def test_missing_probability_is_refused() -> None:
    prob = scores(**FAIR)
    prob[7] = np.nan
    verdicts = run_gates(
        gate_inputs(candidate=prob), LIMITS, (compared.log_loss_holds, soundness.calibrated)
    )
    assert [verdict["passed"] for verdict in verdicts] == [False, False]


def test_the_parameters_hold_every_limit_that_gates_read() -> None:
    params = shipped_params()
    sound = gate_inputs(manifest=MANIFEST | {"n_train": 100_000, "n_holdout": 100_000})
    generic = tuple(gate for gate in CANDIDATE_GATES if gate is not soundness.behaves)
    for inputs in (sound, replace(sound, champion=sound.candidate)):
        told = [each["told"] for each in run_gates(inputs, params["gates"], generic)]
        assert not [text for text in told if "could not run" in text]
