"""Bad refits that the gates on the served model must refuse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from features import durable_files
from pipelines.proofs.base_training import BaseTraining
from pipelines.proofs.gate_case import GateCase, Subject
from usecase.columns import FEATURES, NUMBERS


def tampered_refit(training: BaseTraining) -> Iterator[Subject]:
    subject = training.refit_model(training.fit(training.frame), "tampered")
    [file] = [part for part in subject.folder.iterdir() if part.name != "evaluator.json"]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    durable_files.write_file(file, bytes(data))
    yield subject


def swapped_between_training_and_serving(training: BaseTraining) -> Iterator[Subject]:
    one, other = NUMBERS[8:10]
    swapped = training.frame.rename(columns={one: other, other: one})
    subject = training.refit_model(training.fit(swapped), "swapped")
    yield replace(subject, model=training.fit(training.frame))


def huge_refit(training: BaseTraining) -> Iterator[Subject]:
    """Fit trees with a leaf for every case."""
    model = training.fit(
        training.frame.tail(40_000), model__max_leaf_nodes=None, model__min_samples_leaf=1,
        model__max_iter=30,
    )  # fmt: skip
    yield training.refit_model(model, "huge")


def slow_refit(training: BaseTraining) -> Iterator[Subject]:
    """Fit many trees in a pipeline with an extra step, which has no faster served form."""
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import MaxAbsScaler

    model = training.fit(training.frame.tail(5000), model__max_iter=500, model__max_leaf_nodes=15)
    steps = [model.steps[0], ("scale", MaxAbsScaler()), model.steps[-1]]
    rows = training.frame.tail(5000)
    longer = Pipeline(steps).fit(rows[FEATURES], rows["label"])
    yield training.refit_model(longer, "slow")


def not_refitted(training: BaseTraining) -> Iterator[Subject]:
    yield training.refit_model(training.healthy, "same")


def other_columns(training: BaseTraining) -> Iterator[Subject]:
    """Fit without one column, so that the model does not match the service's columns."""
    from sklearn.compose import ColumnTransformer

    model = training.fit(training.frame)
    parts = [
        (name, part, [c for c in columns if c != NUMBERS[0]])
        for name, part, columns in model[0].transformers
    ]
    model.set_params(encode=ColumnTransformer(parts))
    kept = [name for name in FEATURES if name != NUMBERS[0]]
    rows = training.frame
    yield training.refit_model(model.fit(rows[kept], rows["label"]), "columns")


def refitted_on_other_labels(training: BaseTraining) -> Iterator[Subject]:
    labels = np.random.default_rng(training.seed).permutation(training.frame["label"])
    yield training.refit_model(training.fit(training.frame.assign(label=labels)), "labels")


BAD_REFITS = (
    GateCase("tampered with after evaluation", "digest holds", tampered_refit),
    GateCase("column swapped between training and serving", "served as fitted",
         swapped_between_training_and_serving),
    GateCase("too large", "small enough", huge_refit),
    GateCase("too slow", "fast enough", slow_refit),
    GateCase("incompatible signature", "signature fits", other_columns),
    GateCase("refitted on other labels", "near the evaluated model", refitted_on_other_labels),
    GateCase("not refitted", "near the evaluated model", not_refitted),
)  # fmt: skip
