"""Bad candidates and bad refits that the gates must refuse: real ones, each with one fault."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler

from features import durable_files
from pipelines.evaluation.gates.champion_and_baseline import cost_difference
from pipelines.proofs.base_training import BaseTraining, GateCase, Subject
from pipelines.training import assemble


def stale_labels(training: BaseTraining) -> Iterator[Subject]:
    limit = training.params["gates"]["max_label_age_days"]
    known = training.frame[training.frame["known_at"] < training.as_of - timedelta(days=limit + 1)]
    manifest = assemble.training_manifest(known, training.as_of, training.start)
    rows = known[known["decision_time"] >= training.start].reset_index(drop=True)
    yield replace(training.gate_inputs(training.healthy, rows), manifest=manifest)


def doubled_cases(training: BaseTraining) -> Iterator[Subject]:
    rows = training.holdout
    rows = pd.concat([rows, rows.sample(frac=0.01, random_state=training.seed)], ignore_index=True)
    yield training.gate_inputs(training.healthy, rows)


def shuffled_labels(training: BaseTraining) -> Iterator[Subject]:
    labels = np.random.default_rng(training.seed).permutation(training.known["label"])
    yield training.gate_inputs(training.fit(training.known.assign(label=labels)))


def worse_model(training: BaseTraining) -> Any:
    """Fit few trees, so that the model is worse than the champion overall."""
    return training.fit(training.known.tail(4000), model__max_iter=15)


def worse_than_the_champion(training: BaseTraining) -> Iterator[Subject]:
    yield training.gate_inputs(worse_model(training))


def lucky_days(training: BaseTraining) -> Iterator[Subject]:
    """Evaluate the worse model on chosen days, on which its mean is within the margin."""
    model, gates = worse_model(training), training.params["gates"]
    inputs, n_days, margin = training.gate_inputs(model), gates["min_days"], gates["margin_cost"]
    daily = pd.Series(cost_difference(inputs)).groupby(inputs.days).mean().sort_values()
    # The best days, and the worst one that keeps the mean within half of the margin.
    best, others = list(daily.index[: n_days - 1]), daily.index[n_days - 1 :][::-1]
    worst = [day for day in others if daily[[*best, day]].mean() <= margin / 2][:1]
    rows = training.holdout[inputs.days.isin([*best, *worst])].reset_index(drop=True)
    yield training.gate_inputs(model, rows)


def overconfident(training: BaseTraining) -> Iterator[Subject]:
    scores = training.gate_inputs(training.healthy).candidate
    sharper = scores**3 / (scores**3 + (1 - scores) ** 3)
    yield training.gate_inputs(training.healthy, scores=sharper)


def balanced_classes(training: BaseTraining) -> Iterator[Subject]:
    yield training.gate_inputs(training.fit(training.known, model__class_weight="balanced"))


def leaked_label(training: BaseTraining, wrong: float) -> Iterator[Subject]:
    """Leak the label into a column, except in a share `wrong` of the cases."""
    rng = np.random.default_rng(training.seed)

    name = training.settings.use_case.numbers[0]

    def leaking(rows: pd.DataFrame) -> pd.DataFrame:
        leak = rows["label"].where(rng.random(len(rows)) > wrong, rng.integers(0, 2, len(rows)))
        return rows.assign(**{name: rows[name].mean() + leak * 10.0})

    model = training.fit(leaking(training.known))
    yield training.gate_inputs(model, leaking(training.holdout))


def tampered_refit(training: BaseTraining) -> Iterator[Subject]:
    subject = training.refit_model(training.refit, "tampered")
    [file] = [part for part in subject.folder.iterdir() if part.name != "evaluator.json"]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    durable_files.write_file(file, bytes(data))
    yield subject


def swapped_between_training_and_serving(training: BaseTraining) -> Iterator[Subject]:
    one, other = training.settings.use_case.numbers[8:10]
    swapped = training.fit(training.frame.rename(columns={one: other, other: one}))
    yield replace(training.refit_model(swapped, "swapped"), model=training.refit)


def huge_refit(training: BaseTraining) -> Iterator[Subject]:
    """Fit trees with a leaf for every case."""
    model = training.fit(
        training.frame.tail(40_000), model__max_leaf_nodes=None, model__min_samples_leaf=1,
        model__max_iter=30,
    )  # fmt: skip
    yield training.refit_model(model, "huge")


def slow_refit(training: BaseTraining) -> Iterator[Subject]:
    """Fit many trees in a pipeline with an extra step, which has no faster served form."""
    rows = training.frame.tail(5000)
    model = training.fit(rows, model__max_iter=500, model__max_leaf_nodes=15)
    steps = [model.steps[0], ("scale", MaxAbsScaler()), model.steps[-1]]
    yield training.refit_model(
        Pipeline(steps).fit(rows[training.settings.use_case.features], rows["label"]), "slow"
    )


def not_refitted(training: BaseTraining) -> Iterator[Subject]:
    yield training.refit_model(training.healthy, "same")


def other_columns(training: BaseTraining) -> Iterator[Subject]:
    """Fit without one column, so that the model does not match the service's columns."""
    model, rows = training.fit(training.frame), training.frame
    use_case = training.settings.use_case
    dropped = use_case.numbers[0]
    parts = [
        (name, part, [c for c in columns if c != dropped])
        for name, part, columns in model[0].transformers
    ]
    model.set_params(encode=ColumnTransformer(parts))
    kept = rows[use_case.features].drop(columns=dropped)
    yield training.refit_model(model.fit(kept, rows["label"]), "columns")


def refitted_on_other_labels(training: BaseTraining) -> Iterator[Subject]:
    labels = np.random.default_rng(training.seed).permutation(training.frame["label"])
    yield training.refit_model(training.fit(training.frame.assign(label=labels)), "labels")


BAD_CANDIDATES: tuple[GateCase, ...] = (
    GateCase("labels of three days ago", "data is sound", stale_labels),
    GateCase("cases twice", "data is valid", doubled_cases),
    GateCase("shuffled labels", "beats the baseline", shuffled_labels),
    GateCase("worse beyond the margin", "not worse than the champion", worse_than_the_champion),
    GateCase("the same in lucky days", "not worse than the champion", lucky_days),
    GateCase("overconfident", "log loss holds", overconfident),
    GateCase("classes balanced, so miscalibrated", "calibrated", balanced_classes),
    GateCase("leaked label", "not too good to be true", partial(leaked_label, wrong=0.2)),
    GateCase("half-leaked label", "no column too good", partial(leaked_label, wrong=0.4)),
    GateCase("tampered with after evaluation", "digest holds", tampered_refit),
    GateCase("column swapped between training and serving", "served as fitted",
             swapped_between_training_and_serving),
    GateCase("too large", "small enough", huge_refit),
    GateCase("too slow", "fast enough", slow_refit),
    GateCase("incompatible signature", "signature fits", other_columns),
    GateCase("refitted on other labels", "near the evaluated model", refitted_on_other_labels),
    GateCase("not refitted", "near the evaluated model", not_refitted),
)  # fmt: skip
