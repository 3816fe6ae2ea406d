"""Bad candidates that the gates on scores must refuse: real ones, each with one fault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from pipelines.evaluation.gates.champion_and_baseline import cost_difference
from pipelines.proofs.base_training import BaseTraining
from pipelines.proofs.gate_case import GateCase, Subject
from pipelines.training import assemble
from usecase.columns import NUMBERS


def stale_labels(training: BaseTraining) -> Iterator[Subject]:
    limit = training.params["gates"]["max_label_age_days"]
    known = training.frame[training.frame["known_at"] < training.as_of - timedelta(days=limit + 1)]
    manifest = assemble.training_manifest(known, training.as_of, training.start)
    rows = known[known["decision_time"] >= training.start].reset_index(drop=True)
    inputs = training.gate_inputs(training.healthy, rows)
    yield replace(inputs, manifest=manifest)


def doubled_cases(training: BaseTraining) -> Iterator[Subject]:
    rows = training.holdout
    rows = pd.concat([rows, rows.sample(frac=0.01, random_state=training.seed)], ignore_index=True)
    yield training.gate_inputs(training.healthy, rows)


def shuffled_labels(training: BaseTraining) -> Iterator[Subject]:
    labels = np.random.default_rng(training.seed).permutation(training.known["label"])
    model = training.fit(training.known.assign(label=labels))
    yield training.gate_inputs(model)


def worse_model(training: BaseTraining) -> Any:
    """Fit few trees, so that the model is worse than the champion overall."""
    return training.fit(training.known.tail(4000), model__max_iter=15)


def worse_than_the_champion(training: BaseTraining) -> Iterator[Subject]:
    yield training.gate_inputs(worse_model(training))


def lucky_days(training: BaseTraining) -> Iterator[Subject]:
    """Evaluate the worse model on chosen days, on which its mean is within the margin."""
    inputs = training.gate_inputs(worse_model(training))
    difference = cost_difference(inputs)
    daily = pd.Series(difference).groupby(inputs.days).mean().sort_values()
    n_days = training.params["gates"]["min_days"]
    margin = training.params["gates"]["margin_cost"]
    # The best days, and the worst one that keeps the mean within half of the margin.
    chosen = list(daily.index[: n_days - 1])
    for day in daily.index[::-1]:
        if day not in chosen and daily[[*chosen, day]].mean() <= margin / 2:
            chosen.append(day)
            break
    rows = training.holdout[inputs.days.isin(chosen)].reset_index(drop=True)
    yield training.gate_inputs(worse_model(training), rows)


def overconfident(training: BaseTraining) -> Iterator[Subject]:
    scores = training.gate_inputs(training.healthy).candidate
    sharper = scores**3 / (scores**3 + (1 - scores) ** 3)
    yield training.gate_inputs(training.healthy, scores=sharper)


def balanced_classes(training: BaseTraining) -> Iterator[Subject]:
    yield training.gate_inputs(training.fit(training.known, model__class_weight="balanced"))


def leaked_label(training: BaseTraining, wrong: float) -> Iterator[Subject]:
    """Leak the label into a column, except in a share `wrong` of the cases."""
    rng = np.random.default_rng(training.seed)

    def leaking(rows: pd.DataFrame) -> pd.DataFrame:
        leak = rows["label"].where(rng.random(len(rows)) > wrong, rng.integers(0, 2, len(rows)))
        return rows.assign(**{NUMBERS[0]: rows[NUMBERS[0]].mean() + leak * 10.0})

    model = training.fit(leaking(training.known))
    yield training.gate_inputs(model, leaking(training.holdout))


BAD_CANDIDATES = (
    GateCase("labels of three days ago", "data is sound", stale_labels),
    GateCase("cases twice", "data is valid", doubled_cases),
    GateCase("shuffled labels", "beats the baseline", shuffled_labels),
    GateCase("worse beyond the margin", "not worse than the champion", worse_than_the_champion),
    GateCase("the same in lucky days", "not worse than the champion", lucky_days),
    GateCase("overconfident", "log loss holds", overconfident),
    GateCase("classes balanced, so miscalibrated", "calibrated", balanced_classes),
    GateCase("leaked label", "not too good to be true", lambda base: leaked_label(base, 0.2)),
    GateCase("half-leaked label", "no column too good", lambda base: leaked_label(base, 0.4)),
)  # fmt: skip
