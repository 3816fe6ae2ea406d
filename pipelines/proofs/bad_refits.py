"""Which refits must the gates on the artefact refuse?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from features import durable_files
from pipelines.evaluation.gates.verdict import Verdict
from pipelines.proofs.base_training import BaseTraining
from pipelines.proofs.gate_case import GateCase, judge_refit
from usecase.columns import FEATURES, NUMBERS


def tampered_refit(ground: BaseTraining) -> list[Verdict]:
    subject = ground.artefact(ground.fit(ground.frame), "tampered")
    [file] = [part for part in subject.folder.iterdir() if part.name != "evaluator.json"]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    durable_files.write_file(file, bytes(data))
    return judge_refit(ground, subject)


def swapped_between_training_and_serving(ground: BaseTraining) -> list[Verdict]:
    one, other = NUMBERS[8:10]
    swapped = ground.frame.rename(columns={one: other, other: one})
    subject = ground.artefact(ground.fit(swapped), "swapped")
    return judge_refit(ground, replace(subject, model=ground.fit(ground.frame)))


def huge_refit(ground: BaseTraining) -> list[Verdict]:
    """Trees that hold every case in a leaf of its own."""
    model = ground.fit(
        ground.frame.tail(40_000), model__max_leaf_nodes=None, model__min_samples_leaf=1,
        model__max_iter=30,
    )  # fmt: skip
    return judge_refit(ground, ground.artefact(model, "huge"))


def slow_refit(ground: BaseTraining) -> list[Verdict]:
    """A pipeline with a step more, so served as itself, and with many trees."""
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import MaxAbsScaler

    model = ground.fit(ground.frame.tail(5000), model__max_iter=500, model__max_leaf_nodes=15)
    steps = [model.steps[0], ("scale", MaxAbsScaler()), model.steps[-1]]
    rows = ground.frame.tail(5000)
    longer = Pipeline(steps).fit(rows[FEATURES], rows["label"])
    return judge_refit(ground, ground.artefact(longer, "slow"))


def not_refitted(ground: BaseTraining) -> list[Verdict]:
    return judge_refit(ground, ground.artefact(ground.healthy, "same"))


def other_columns(ground: BaseTraining) -> list[Verdict]:
    """Fitted on the columns but one: the service would give what nobody reads, in another order."""
    from sklearn.compose import ColumnTransformer

    model = ground.fit(ground.frame)
    parts = [
        (name, part, [c for c in columns if c != NUMBERS[0]])
        for name, part, columns in model[0].transformers
    ]
    model.set_params(encode=ColumnTransformer(parts))
    kept = [name for name in FEATURES if name != NUMBERS[0]]
    rows = ground.frame
    return judge_refit(ground, ground.artefact(model.fit(rows[kept], rows["label"]), "columns"))


def refitted_on_other_labels(ground: BaseTraining) -> list[Verdict]:
    labels = np.random.default_rng(ground.seed).permutation(ground.frame["label"])
    return judge_refit(
        ground, ground.artefact(ground.fit(ground.frame.assign(label=labels)), "labels")
    )


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
