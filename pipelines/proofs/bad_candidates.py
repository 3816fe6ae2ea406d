"""Which candidates must the gates on scores refuse? Real ones, each with one fault."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from pipelines.evaluation.gates.champion_and_baseline import cost_difference
from pipelines.evaluation.gates.verdict import Verdict
from pipelines.proofs.base_training import BaseTraining
from pipelines.proofs.gate_case import GateCase, judge_candidate
from pipelines.training import assemble
from usecase.columns import NUMBERS


def stale_labels(ground: BaseTraining) -> list[Verdict]:
    limit = ground.params["gates"]["max_label_age_days"]
    known = ground.frame[ground.frame["known_at"] < ground.as_of - timedelta(days=limit + 1)]
    manifest = assemble.training_manifest(known, ground.as_of, ground.start)
    rows = known[known["decision_time"] >= ground.start].reset_index(drop=True)
    evidence = ground.evidence(ground.healthy, rows)
    return judge_candidate(ground, replace(evidence, manifest=manifest))


def doubled_cases(ground: BaseTraining) -> list[Verdict]:
    rows = ground.holdout
    rows = pd.concat([rows, rows.sample(frac=0.01, random_state=ground.seed)], ignore_index=True)
    return judge_candidate(ground, ground.evidence(ground.healthy, rows))


def shuffled_labels(ground: BaseTraining) -> list[Verdict]:
    labels = np.random.default_rng(ground.seed).permutation(ground.known["label"])
    return judge_candidate(ground, ground.evidence(ground.fit(ground.known.assign(label=labels))))


def worse_model(ground: BaseTraining) -> Any:
    """Stopped after a few of its trees, so worse than the champion on the whole."""
    return ground.fit(ground.known.tail(4000), model__max_iter=15)


def worse_than_the_champion(ground: BaseTraining) -> list[Verdict]:
    return judge_candidate(ground, ground.evidence(worse_model(ground)))


def lucky_days(ground: BaseTraining) -> list[Verdict]:
    """The same model on the days that flatter it: its mean lies within the margin there."""
    evidence = ground.evidence(worse_model(ground))
    difference = cost_difference(evidence)
    daily = pd.Series(difference).groupby(evidence.days).mean().sort_values()
    n_days = ground.params["gates"]["min_days"]
    margin = ground.params["gates"]["margin_cost"]
    # The luckiest days, and the unluckiest that still leave the mean within half of the margin.
    chosen = list(daily.index[: n_days - 1])
    for day in daily.index[::-1]:
        if day not in chosen and daily[[*chosen, day]].mean() <= margin / 2:
            chosen.append(day)
            break
    rows = ground.holdout[evidence.days.isin(chosen)].reset_index(drop=True)
    lucky = ground.evidence(worse_model(ground), rows)
    return judge_candidate(ground, lucky)


def overconfident(ground: BaseTraining) -> list[Verdict]:
    scores = ground.evidence(ground.healthy).candidate
    sharper = scores**3 / (scores**3 + (1 - scores) ** 3)
    return judge_candidate(ground, ground.evidence(ground.healthy, scores=sharper))


def balanced_classes(ground: BaseTraining) -> list[Verdict]:
    return judge_candidate(
        ground, ground.evidence(ground.fit(ground.known, model__class_weight="balanced"))
    )


def leaked_label(ground: BaseTraining, wrong: float) -> list[Verdict]:
    """A column that takes the label's part, but for a share of the cases."""
    rng = np.random.default_rng(ground.seed)

    def leaking(rows: pd.DataFrame) -> pd.DataFrame:
        told = rows["label"].where(rng.random(len(rows)) > wrong, rng.integers(0, 2, len(rows)))
        return rows.assign(**{NUMBERS[0]: rows[NUMBERS[0]].mean() + told * 10.0})

    model = ground.fit(leaking(ground.known))
    return judge_candidate(ground, ground.evidence(model, leaking(ground.holdout)))


BAD_CANDIDATES = (
    GateCase("labels of three days ago", "data is sound", stale_labels),
    GateCase("cases twice", "data is valid", doubled_cases),
    GateCase("shuffled labels", "beats the baseline", shuffled_labels),
    GateCase("worse beyond the margin", "not worse than the champion", worse_than_the_champion),
    GateCase("the same in lucky days", "not worse than the champion", lucky_days),
    GateCase("overconfident", "log loss holds", overconfident),
    GateCase("classes balanced, so miscalibrated", "calibrated", balanced_classes),
    GateCase("leaked label", "not too good to be true", lambda ground: leaked_label(ground, 0.2)),
    GateCase("half-leaked label", "no column too good", lambda ground: leaked_label(ground, 0.4)),
)  # fmt: skip
