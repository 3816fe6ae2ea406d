"""Does each gate let through what it should, and refuse what it must?"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from pipelines.evaluation.gates import candidate_gates, refit_gates, source_gates
from pipelines.evaluation.gates.champion_and_baseline import holm_adjust
from pipelines.evaluation.gates.verdict import Limits, Verdict, gate_name, run_gates, verdict_code
from settings import CODE_PATTERN
from usecase.evaluation import day_bootstrap

N, N_POSITIVE = 4000, 1000
COSTS = {"false_alarm": 1.0, "miss": 4.0, "threshold": 0.2}
# Powers of two where a limit is met exactly, so that no rounding decides.
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
# Right where it says 0.4375 and 0.125; costs 525, and its AUC is 0.7.
FAIR = {"misses": 300, "false_alarms": 900, "low": 0.125, "high": 0.4375}
MANIFEST = {
    "as_of": "2020-05-01T00:00:00+00:00", "newest_label": "2020-04-30T00:00:00+00:00",
    "n_train": 5000, "n_holdout": N,
}  # fmt: skip


def answers(
    *, misses: int = 0, false_alarms: int = 0, low: float = 0.1, high: float = 0.9
) -> np.ndarray:
    """`high` where the label is 1, else `low`; wrong in so many cases, spread over all rows."""
    prob = np.where(LABEL == 1, high, low)
    for rows, wrong, given in ((POSITIVE, misses, low), (NEGATIVE, false_alarms, high)):
        prob[rows[np.linspace(0, len(rows) - 1, wrong).astype(int)]] = given
    return prob


def cost(prob: np.ndarray) -> float:
    alarm = prob >= COSTS["threshold"]
    return float(1000 * np.mean(np.where(LABEL == 1, 4.0 * ~alarm, 1.0 * alarm)))


def evidence(**changes: Any) -> candidate_gates.GateInputs:
    """A sound training: 20 days, a fair candidate, a baseline that always alarms, no champion."""
    hours = pd.date_range("2020-04-10", periods=N, freq="7min", tz="UTC")
    sides = pd.Series(np.where(np.arange(N) < N // 2, "north", "south"))
    given = {
        "frame": pd.DataFrame(
            {"key": np.arange(N), "label": LABEL, "decision_time": hours, "x": noise()}
        ),
        "candidate": answers(**FAIR),
        "baseline": np.full(N, N_POSITIVE / N),
        "champion": None,
        "predict": lambda rows: np.full(len(rows), 0.5),
        "slices": {"side": sides},
        "manifest": MANIFEST,
        "costs": COSTS,
        "seed": 1,
        "columns": ["x"],
    }
    for name, change in changes.pop("cells", {}).items():
        given["frame"] = given["frame"].assign(**{name: change(given["frame"][name])})
    return candidate_gates.GateInputs(**(given | changes))


def noise() -> np.ndarray:
    return np.random.default_rng(2).normal(size=N)


def cells(**changes: Callable[[pd.Series], Any]) -> dict[str, Any]:
    """The sound training with columns changed."""
    return {"cells": changes}


def south(prob: Callable[[np.ndarray], Any]) -> dict[str, Any]:
    """The fair candidate, with what it says of the south changed."""
    changed = answers(**FAIR)
    changed[N // 2 :] = prob(changed[N // 2 :])
    return {"candidate": changed}


def by_turns_in_the_south() -> dict[str, Any]:
    """Without a fault on one day, and without any alarm on the next."""
    day = pd.date_range("2020-04-10", periods=N, freq="7min", tz="UTC").day.to_numpy()
    return south(lambda _: np.where(day % 2 == 0, answers(), 0.1)[N // 2 :])


def gaps(where: np.ndarray) -> Callable[[pd.Series], pd.Series]:
    """40 gaps among these rows, over all days."""
    return lambda x: x.mask(x.index.isin(where[np.linspace(0, len(where) - 1, 40).astype(int)]))


def manifest(**changes: Any) -> dict[str, Any]:
    return {"manifest": MANIFEST | changes}


def candidate(**wrong: Any) -> dict[str, Any]:
    return {"candidate": answers(**wrong)}


def against(champion: np.ndarray, **wrong: Any) -> dict[str, Any]:
    return {"champion": champion, "candidate": answers(**wrong)}


def one_bad_slice(ratio: float) -> dict[str, Any]:
    """A candidate without a fault in the north, and at `ratio` times the baseline in the south."""
    prob = answers()
    south = POSITIVE[POSITIVE >= N // 2]
    n_misses = int(ratio * 0.75 * (N // 2) / 4)  # the baseline alarms on the 75% of label 0
    prob[south[:n_misses]] = 0.1
    return {"candidate": prob}


def sliced(n_north: int) -> dict[str, Any]:
    others = (np.arange(N) // 500).astype(str)  # no more than 500 cases each
    return {"slices": {"side": pd.Series(np.where(np.arange(N) < n_north, "north", others))}}


def near(prob: float) -> np.ndarray:
    return np.full(N, prob)


# Champion and candidate differ by `false_alarms / N * 1000`: 125 of 4,000 are 31.25 per 1,000.
CHAMPION = answers(misses=100, false_alarms=500)
CASES: list[tuple[str, Callable[..., Verdict], dict[str, Any], bool]] = [
    ("enough cases", candidate_gates.data_is_sound, manifest(n_train=1000, n_holdout=500), True),
    ("too few to train", candidate_gates.data_is_sound, manifest(n_train=999), False),
    ("too few to judge", candidate_gates.data_is_sound, manifest(n_holdout=499), False),
    (
        "labels at the limit",
        candidate_gates.data_is_sound,
        manifest(newest_label="2020-04-29T00:00:00+00:00"),
        True,
    ),
    (
        "labels too old",
        candidate_gates.data_is_sound,
        manifest(newest_label="2020-04-28T23:59:59+00:00"),
        False,
    ),
    (
        "label from the future",
        candidate_gates.data_is_sound,
        manifest(newest_label="2020-05-01T00:00:01+00:00"),
        False,
    ),
    # The baseline costs 750; a quarter less is 562.5, which 2,250 false alarms cost.
    ("saves just enough", candidate_gates.beats_the_baseline, candidate(false_alarms=2250), True),
    ("saves too little", candidate_gates.beats_the_baseline, candidate(false_alarms=2251), False),
    ("dearer than no model", candidate_gates.beats_the_baseline, candidate(misses=1000), False),
    ("no champion", candidate_gates.not_worse_than_the_champion, {}, True),
    (
        "as good as the champion",
        candidate_gates.not_worse_than_the_champion,
        {"champion": CHAMPION, "candidate": CHAMPION.copy()},
        True,
    ),
    (
        "worse within the margin",
        candidate_gates.not_worse_than_the_champion,
        against(CHAMPION, misses=100, false_alarms=600),
        True,
    ),
    # By its mean it would pass; the upper bound of the interval does not.
    (
        "worse by the margin",
        candidate_gates.not_worse_than_the_champion,
        against(CHAMPION, misses=100, false_alarms=625),
        False,
    ),
    (
        "worse beyond the margin",
        candidate_gates.not_worse_than_the_champion,
        against(CHAMPION, misses=100, false_alarms=700),
        False,
    ),
    (
        "too few days for an interval",
        candidate_gates.not_worse_than_the_champion,
        {
            "champion": CHAMPION,
            "candidate": CHAMPION.copy(),
            **cells(decision_time=lambda times: times.min() + (times - times.min()) / 5),
        },
        False,
    ),
    ("no champion in any slice", candidate_gates.no_slice_worse_than_the_champion, {}, True),
    (
        "as good in every slice",
        candidate_gates.no_slice_worse_than_the_champion,
        {"champion": CHAMPION, "candidate": CHAMPION.copy()},
        True,
    ),
    (
        "one slice worse",
        candidate_gates.no_slice_worse_than_the_champion,
        {"champion": answers(**FAIR), **south(lambda prob: prob * 0 + 0.1)},
        False,
    ),
    ("no champion to doubt a slice by", candidate_gates.no_slice_left_in_doubt, {}, True),
    (
        "no doubt where both say the same",
        candidate_gates.no_slice_left_in_doubt,
        {"champion": CHAMPION, "candidate": CHAMPION.copy()},
        True,
    ),
    # No worse on the whole, but by what days? Harm is not shown, and neither is its absence.
    (
        "one slice changes with the days",
        candidate_gates.no_slice_worse_than_the_champion,
        {"champion": answers(**FAIR), **by_turns_in_the_south()},
        True,
    ),
    (
        "and is in doubt for it",
        candidate_gates.no_slice_left_in_doubt,
        {"champion": answers(**FAIR), **by_turns_in_the_south()},
        False,
    ),
    (
        "no slice to compare",
        candidate_gates.no_slice_left_in_doubt,
        {"champion": CHAMPION, "candidate": CHAMPION.copy(), "slices": {}},
        False,
    ),
    ("whole", candidate_gates.data_is_valid, {}, True),
    ("a case twice", candidate_gates.data_is_valid, cells(key=lambda key: key.clip(1)), False),
    (
        "a label of 2",
        candidate_gates.data_is_valid,
        cells(label=lambda label: label.replace(1, 2)),
        False,
    ),
    (
        "an infinite value",
        candidate_gates.data_is_valid,
        cells(x=lambda x: x.mask(x > 3, np.inf)),
        False,
    ),
    (
        "a column without values",
        candidate_gates.data_is_valid,
        cells(x=lambda x: x * np.nan),
        False,
    ),
    ("a column that is absent", candidate_gates.data_is_valid, {"columns": ["x", "y"]}, False),
    ("right in both slices", candidate_gates.calibrated_in_slices, {"candidate": near(0.25)}, True),
    (
        "right on average alone",
        candidate_gates.calibrated_in_slices,
        {"candidate": np.where(np.arange(N) < N // 2, 0.1, 0.4)},
        False,
    ),
    ("errs as announced", candidate_gates.errors_are_even, {}, True),
    (
        "errs more in the south",
        candidate_gates.errors_are_even,
        south(np.random.default_rng(0).permutation),
        False,
    ),
    ("a column of noise", candidate_gates.no_column_too_good, {}, True),
    (
        "a column that ranks",
        candidate_gates.no_column_too_good,
        cells(x=lambda x: x + 2 * LABEL),
        False,
    ),
    (
        "one that ranks backwards",
        candidate_gates.no_column_too_good,
        cells(x=lambda x: x - 2 * LABEL),
        False,
    ),
    (
        "a column of texts that tells",
        candidate_gates.no_column_too_good,
        cells(x=lambda x: np.where(LABEL == 1, "a", "b")),
        False,
    ),
    ("gaps here and there", candidate_gates.no_value_tells, cells(x=gaps(np.arange(N))), True),
    ("gaps where it happened", candidate_gates.no_value_tells, cells(x=gaps(POSITIVE)), False),
    (
        "gaps in one bad hour",
        candidate_gates.no_value_tells,
        cells(x=lambda x: x.mask(x.index.isin(POSITIVE[:40]))),
        True,
    ),
    (
        "a value where it happened",
        candidate_gates.no_value_tells,
        cells(x=lambda x: gaps(POSITIVE)(x).fillna(-1.0)),
        False,
    ),
    (
        "log-loss of the champion",
        candidate_gates.log_loss_holds,
        against(CHAMPION, misses=100, false_alarms=500),
        True,
    ),
    (
        "log-loss 0.004 above the champion's",
        candidate_gates.log_loss_holds,
        {"champion": near(0.25), "candidate": near(0.29)},
        True,
    ),
    (
        "log-loss 0.015 above the champion's",
        candidate_gates.log_loss_holds,
        {"champion": near(0.25), "candidate": near(0.33)},
        False,
    ),
    (
        "log-loss below the baseline's",
        candidate_gates.log_loss_holds,
        candidate(false_alarms=600),
        True,
    ),
    (
        "sure and wrong",
        candidate_gates.log_loss_holds,
        candidate(low=0.001, high=0.999, misses=200, false_alarms=600),
        False,
    ),
    ("calibrated", candidate_gates.calibrated, {"candidate": near(0.25)}, True),
    ("off by the limit", candidate_gates.calibrated, {"candidate": near(0.375)}, True),
    ("too high", candidate_gates.calibrated, {"candidate": near(0.376)}, False),
    ("too low", candidate_gates.calibrated, {"candidate": near(0.124)}, False),
    ("every slice good", candidate_gates.slices_hold, {}, True),
    ("a slice at the limit", candidate_gates.slices_hold, one_bad_slice(1.25), True),
    ("one bad slice", candidate_gates.slices_hold, one_bad_slice(1.3), False),
    ("smallest slice that counts", candidate_gates.slices_hold, sliced(1000), True),
    ("small ones pooled", candidate_gates.slices_hold, sliced(999), True),
    (
        "small ones pooled, and bad",
        candidate_gates.slices_hold,
        sliced(0) | {"candidate": near(0.1)},
        False,
    ),
    ("no slice with enough cases", candidate_gates.slices_hold, {"slices": {}}, False),
    ("a good model", candidate_gates.not_too_good_to_be_true, {}, True),
    (
        "too good to be true",
        candidate_gates.not_too_good_to_be_true,
        candidate(misses=100, false_alarms=100),
        False,
    ),
]


@pytest.mark.parametrize(
    ("judged", "changes", "passed"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_gate(judged: Callable[..., Verdict], changes: dict[str, Any], passed: bool) -> None:
    verdict = judged(evidence(**changes), LIMITS)
    assert verdict.passed is passed, verdict
    if verdict.margin is not None:
        assert verdict.margin >= 0 if passed else verdict.margin < 0


def test_every_gate_has_a_case_that_it_passes_and_one_that_it_refuses() -> None:
    """`behaves` needs the use case's columns: its cases are in tests/usecase/test_evaluation.py."""
    assert candidate_gates.behaves in candidate_gates.CANDIDATE_GATES
    generic = set(candidate_gates.CANDIDATE_GATES) - {candidate_gates.behaves}
    for outcome in (True, False):
        assert {judged for _, judged, _, passed in CASES if passed is outcome} == generic


def test_verdict_tells_value_limit_and_who_is_compared() -> None:
    prob = answers(misses=250)
    verdict = candidate_gates.beats_the_baseline(evidence(candidate=prob), LIMITS)
    assert verdict.value == cost(prob) == 250.0
    assert verdict.limit == 562.5
    assert "750" in verdict.told

    verdict = candidate_gates.not_worse_than_the_champion(
        evidence(champion=CHAMPION, candidate=answers(misses=100, false_alarms=580)), LIMITS
    )
    assert f"{80 / N * 1000:+.1f}, 90% interval" in verdict.told
    limit = LIMITS["margin_cost"]
    assert verdict.told.endswith(
        f"; shown not to be worse by more than {limit:g}, not shown to be superior"
    )
    refused = candidate_gates.not_worse_than_the_champion(
        evidence(champion=CHAMPION, candidate=answers(misses=100, false_alarms=680)), LIMITS
    )
    assert not refused.passed
    assert refused.told.endswith(f"; may be worse by more than {limit:g}")
    better = candidate_gates.not_worse_than_the_champion(
        evidence(champion=CHAMPION, candidate=answers(misses=50, false_alarms=400)), LIMITS
    )
    assert better.told.endswith("; superior")


def test_log_loss_is_held_against_the_champion_where_there_is_one() -> None:
    with_champion = evidence(champion=near(0.25) + np.where(LABEL == 1, 0.2, -0.1))
    assert "champion" in candidate_gates.log_loss_holds(with_champion, LIMITS).told
    alone = candidate_gates.log_loss_holds(evidence(), LIMITS)
    assert "baseline" in alone.told
    # No margin above the baseline: a model must be better than none.
    assert not candidate_gates.log_loss_holds(evidence(candidate=near(0.26)), LIMITS).passed


def test_gate_is_named_as_its_function() -> None:
    for judged in candidate_gates.CANDIDATE_GATES:
        if judged is not candidate_gates.behaves:
            assert judged(evidence(champion=CHAMPION), LIMITS).gate == gate_name(judged)


def test_every_gate_has_a_code_of_its_own_that_the_documents_list() -> None:
    every = [*candidate_gates.CANDIDATE_GATES, *refit_gates.REFIT_GATES, *source_gates.SOURCE_GATES]
    codes = [run_gates(None, {}, [each])[0].code for each in every]
    assert codes == [each.__name__ for each in every]
    assert len(set(codes)) == len(every)
    document = (Path(__file__).parents[3] / "docs/gates.md").read_text()
    assert all(re.fullmatch(CODE_PATTERN, code) and f"`{code}`" in document for code in codes)
    assert f"{len(every)} gates" in document
    assert verdict_code({"gate": "data is sound"}) == "data_is_sound", "stored by an older version"
    assert verdict_code({"gate": "sound data", "code": "data_is_sound"}) == "data_is_sound"


def test_holm_is_no_stricter_than_it_must_be() -> None:
    assert holm_adjust(np.array([0.01, 0.04, 0.03])).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm_adjust(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]


def test_worst_slice_is_named() -> None:
    assert (
        "side south (2,000 cases)"
        in candidate_gates.slices_hold(evidence(**one_bad_slice(1.3)), LIMITS).told
    )


@pytest.mark.parametrize(
    ("passed", "value", "limit", "margin"),
    [(True, 3.0, 5.0, 2.0), (False, 7.0, 5.0, -2.0), (True, 7.0, 5.0, 2.0), (True, 5.0, 5.0, 0.0),
     (False, None, 5.0, None), (True, None, 5.0, None), (False, None, None, None)],
)  # fmt: skip
def test_margin_is_positive_inside_and_negative_outside(
    passed: bool, value: float | None, limit: float | None, margin: float | None
) -> None:
    verdict = Verdict("any", passed, value, limit, "")
    assert verdict.margin == margin
    assert json.loads(json.dumps(verdict.as_dict()))["margin"] == margin


def test_sound_training_passes_all_generic_gates() -> None:
    generic = tuple(
        judged
        for judged in candidate_gates.CANDIDATE_GATES
        if judged is not candidate_gates.behaves
    )
    assert len(generic) == 14
    verdicts = run_gates(evidence(), LIMITS, generic)
    assert [verdict.passed for verdict in verdicts] == [True] * 14, verdicts


def test_gate_that_raises_has_failed_and_says_why() -> None:
    def broken(rows: pd.DataFrame) -> np.ndarray:
        raise KeyError("a column that is gone")

    verdict = run_gates(evidence(predict=broken), LIMITS, (candidate_gates.behaves,))[0]
    assert not verdict.passed
    assert verdict.gate == "behaves"
    assert "could not run: KeyError" in verdict.told
    assert "a column that is gone" in verdict.told


def test_other_gates_are_judged_after_one_that_raises() -> None:
    short = evidence(champion=np.array([0.5, 0.5]))
    verdicts = run_gates(
        short, LIMITS, (candidate_gates.not_worse_than_the_champion, candidate_gates.calibrated)
    )
    assert [verdict.passed for verdict in verdicts] == [False, True]


@pytest.mark.parametrize(
    "judged",
    [
        each
        for each in candidate_gates.CANDIDATE_GATES
        if each not in (candidate_gates.behaves, candidate_gates.data_is_valid)
    ],
)
def test_gate_without_its_limits_has_failed(judged: Callable[..., Verdict]) -> None:
    verdict = run_gates(evidence(champion=CHAMPION), {}, (judged,))[0]
    assert not verdict.passed
    assert "could not run: KeyError" in verdict.told


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_value_that_is_not_finite_has_failed(value: float) -> None:
    def claims(given: candidate_gates.GateInputs, limits: Limits) -> Verdict:
        return Verdict("claims", True, value, 1.0, "passes whatever it found")

    verdict = run_gates(evidence(), LIMITS, (claims,))[0]
    assert not verdict.passed
    assert verdict.value is None
    assert "not finite" in verdict.told


def test_missing_probability_is_refused() -> None:
    prob = answers(**FAIR)
    prob[7] = np.nan
    verdicts = run_gates(
        evidence(candidate=prob),
        LIMITS,
        (candidate_gates.log_loss_holds, candidate_gates.calibrated),
    )
    assert [verdict.passed for verdict in verdicts] == [False, False]


def test_nothing_the_project_gates_read_is_missing_from_its_parameters() -> None:
    file = Path(__file__).resolve().parents[3] / "usecase" / "params.yaml"
    params = yaml.safe_load(file.read_text())
    sound = evidence(manifest=MANIFEST | {"n_train": 100_000, "n_holdout": 100_000})
    generic = tuple(
        judged
        for judged in candidate_gates.CANDIDATE_GATES
        if judged is not candidate_gates.behaves
    )
    for given in (sound, replace(sound, champion=sound.candidate)):
        told = [each.told for each in run_gates(given, params["gates"], generic)]
        assert not [text for text in told if "could not run" in text]


def days(counts: list[int]) -> pd.Series:
    starts = pd.date_range("2020-01-01", periods=len(counts), tz="UTC")
    return pd.Series(starts.repeat(counts))


def test_bootstrap_repeats_with_its_seed() -> None:
    values, of = np.random.default_rng(0).normal(size=300), days([30] * 10)
    assert day_bootstrap(values, of, seed=3) == day_bootstrap(values, of, seed=3)
    assert day_bootstrap(values, of, seed=3) != day_bootstrap(values, of, seed=4)


def test_bootstrap_of_constant_values_has_no_width() -> None:
    assert day_bootstrap(np.full(60, 2.5), days([10, 20, 30]), seed=0) == (2.5, 2.5)


def test_bootstrap_draws_days_and_not_cases() -> None:
    """Whatever happens inside days, days that are all alike leave no doubt about the mean."""
    alike = np.tile([-100.0, 0.0, 100.0, 8.0], 12)
    assert day_bootstrap(alike, days([4] * 12), seed=0) == (2.0, 2.0)
    # And cases of one day that go together are one piece of evidence, not many.
    by_day = np.repeat(np.random.default_rng(1).normal(size=12), 50)
    low, high = day_bootstrap(by_day, days([50] * 12), seed=0)
    single = day_bootstrap(by_day, days([1] * 600), seed=0)
    assert high - low > 4 * (single[1] - single[0])
    assert low < by_day.mean() < high


def test_bootstrap_weighs_cases_and_not_days() -> None:
    """Of two days with 1 and 99 cases, half of the draws have both: mean 0.01, never 0.5."""
    values = np.array([1.0] + [0.0] * 99)
    interval = day_bootstrap(values, days([1, 99]), seed=0, level=0.4)
    assert interval == pytest.approx((0.01, 0.01))


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    rng, of = np.random.default_rng(5), days([5] * 40)
    covered = []
    for trial in range(200):
        values = np.repeat(rng.normal(size=40), 5) + rng.normal(size=200)
        low, high = day_bootstrap(values, of, seed=trial, draws=200)
        covered.append(low <= 0 <= high)
    assert 0.8 < np.mean(covered) < 0.97
