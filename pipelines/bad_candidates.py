"""Which candidates must be refused, and by which gate? Real ones, each with one fault.

A case takes the ground and returns what the gates said; the gates run in the order of a release:
on the candidate, on the refit, on what it was made from.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from features import partitions
from pipelines import artefact, assemble, gate
from pipelines.gates import sources
from pipelines.gates.comparison import cost_difference
from pipelines.ground import Ground, home_of, inside
from pipelines.verdict import Verdict, judge
from usecase.columns import FEATURES, NUMBERS
from usecase.faults import FAULTS, Fault


@dataclass(frozen=True)
class Case:
    """`gate` must refuse what `made` makes; a healthy candidate has none and must pass all."""

    told: str
    gate: str | None
    made: Callable[[Ground], list[Verdict]]


def candidate(ground: Ground, evidence: gate.Evidence) -> list[Verdict]:
    """What the gates say of a candidate."""
    return judge(evidence, ground.params["gates"], gate.GATES)


def refit(ground: Ground, subject: artefact.Artefact) -> list[Verdict]:
    """And of its refit."""
    gates = ground.params["gates"]
    return judge(subject, {**gates, **gates["artefact"]}, artefact.GATES)


def made_from(ground: Ground, subject: sources.Sources) -> list[Verdict]:
    """And of what it was made from."""
    gates = ground.params["gates"]
    with inside(subject.settings):
        return judge(subject, {**gates, **gates["sources"]}, sources.GATES)


def healthy(seed: int) -> Case:
    def made(ground: Ground) -> list[Verdict]:
        ground = ground.reseeded(ground.seed + seed)
        found = candidate(ground, ground.evidence(ground.healthy))
        found += refit(ground, ground.artefact(ground.fit(ground.frame), f"healthy-{seed}"))
        # Of the same data each time, so that two samples of them are enough.
        return found + (made_from(ground, ground.sources()) if seed < 2 else [])

    return Case(f"healthy, seed {seed}", None, made)


# On the candidate.


def stale_labels(ground: Ground) -> list[Verdict]:
    limit = ground.params["gates"]["max_label_age_days"]
    known = ground.frame[ground.frame["known_at"] < ground.as_of - timedelta(days=limit + 1)]
    manifest = assemble.manifest_of(known, ground.as_of, ground.start)
    rows = known[known["decision_time"] >= ground.start].reset_index(drop=True)
    evidence = ground.evidence(ground.healthy, rows)
    return candidate(ground, replace(evidence, manifest=manifest))


def doubled_cases(ground: Ground) -> list[Verdict]:
    rows = ground.holdout
    rows = pd.concat([rows, rows.sample(frac=0.01, random_state=ground.seed)], ignore_index=True)
    return candidate(ground, ground.evidence(ground.healthy, rows))


def shuffled_labels(ground: Ground) -> list[Verdict]:
    labels = np.random.default_rng(ground.seed).permutation(ground.known["label"])
    return candidate(ground, ground.evidence(ground.fit(ground.known.assign(label=labels))))


def worse_model(ground: Ground) -> Any:
    """Stopped after a few of its trees, so worse than the champion on the whole."""
    return ground.fit(ground.known.tail(4000), model__max_iter=15)


def worse_than_the_champion(ground: Ground) -> list[Verdict]:
    return candidate(ground, ground.evidence(worse_model(ground)))


def lucky_days(ground: Ground) -> list[Verdict]:
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
    return candidate(ground, lucky)


def overconfident(ground: Ground) -> list[Verdict]:
    scores = ground.evidence(ground.healthy).candidate
    sharper = scores**3 / (scores**3 + (1 - scores) ** 3)
    return candidate(ground, ground.evidence(ground.healthy, scores=sharper))


def balanced_classes(ground: Ground) -> list[Verdict]:
    return candidate(
        ground, ground.evidence(ground.fit(ground.known, model__class_weight="balanced"))
    )


def leaked_label(ground: Ground, wrong: float) -> list[Verdict]:
    """A column that takes the label's part, but for a share of the cases."""
    rng = np.random.default_rng(ground.seed)

    def leaking(rows: pd.DataFrame) -> pd.DataFrame:
        told = rows["label"].where(rng.random(len(rows)) > wrong, rng.integers(0, 2, len(rows)))
        return rows.assign(**{NUMBERS[0]: rows[NUMBERS[0]].mean() + told * 10.0})

    model = ground.fit(leaking(ground.known))
    return candidate(ground, ground.evidence(model, leaking(ground.holdout)))


# On the refit.


def tampered(ground: Ground) -> list[Verdict]:
    subject = ground.artefact(ground.fit(ground.frame), "tampered")
    [file] = [part for part in subject.folder.iterdir() if part.name != "evaluator.json"]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    return refit(ground, subject)


def swapped_between_training_and_serving(ground: Ground) -> list[Verdict]:
    one, other = NUMBERS[8:10]
    swapped = ground.frame.rename(columns={one: other, other: one})
    subject = ground.artefact(ground.fit(swapped), "swapped")
    return refit(ground, replace(subject, model=ground.fit(ground.frame)))


def huge(ground: Ground) -> list[Verdict]:
    """Trees that hold every case in a leaf of its own."""
    model = ground.fit(
        ground.frame.tail(40_000), model__max_leaf_nodes=None, model__min_samples_leaf=1,
        model__max_iter=30,
    )  # fmt: skip
    return refit(ground, ground.artefact(model, "huge"))


def slow(ground: Ground) -> list[Verdict]:
    """A pipeline with a step more, so served as itself, and with many trees."""
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import MaxAbsScaler

    model = ground.fit(ground.frame.tail(5000), model__max_iter=500, model__max_leaf_nodes=15)
    steps = [model.steps[0], ("scale", MaxAbsScaler()), model.steps[-1]]
    rows = ground.frame.tail(5000)
    longer = Pipeline(steps).fit(rows[FEATURES], rows["label"])
    return refit(ground, ground.artefact(longer, "slow"))


def not_refitted(ground: Ground) -> list[Verdict]:
    return refit(ground, ground.artefact(ground.healthy, "same"))


def other_columns(ground: Ground) -> list[Verdict]:
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
    return refit(ground, ground.artefact(model.fit(rows[kept], rows["label"]), "columns"))


def refitted_on_other_labels(ground: Ground) -> list[Verdict]:
    labels = np.random.default_rng(ground.seed).permutation(ground.frame["label"])
    return refit(ground, ground.artefact(ground.fit(ground.frame.assign(label=labels)), "labels"))


# On what it was made from.


def data_of_another_md5(ground: Ground) -> list[Verdict]:
    """One label of the training set was changed after it was put on record."""
    path = ground.scratch / "changed"
    shutil.copytree(ground.settings.home / "data", path / "data", copy_function=_link)
    labels = ground.frame["label"].to_numpy().copy()
    labels[0] = 1 - labels[0]
    target = path / "data" / "training" / "training.parquet"
    partitions.write(ground.frame.assign(label=labels), target)
    shutil.copytree(ground.settings.home / "usecase", path / "usecase")
    return made_from(ground, ground.sources(path=path))


def stale_online(ground: Ground) -> list[Verdict]:
    """The online store was last published days ago."""
    from features.publish import publish

    late = timedelta(hours=ground.params["gates"]["sources"]["max_online_lag_hours"] + 24)
    own = other_home(ground, "stale")
    with inside(own):
        publish(own, ground.as_of - late)
    return made_from(ground, ground.sources(settings=own))


def lost_publication(ground: Ground) -> list[Verdict]:
    """The marker says that all is published; the last hours never reached the store."""
    from features.publish import publish
    from features.published import marker

    own = other_home(ground, "lost")
    with inside(own):
        publish(own, ground.as_of - timedelta(hours=1))
    marker(own).write_text(ground.as_of.isoformat())
    return made_from(ground, ground.sources(settings=own))


def other_home(ground: Ground, name: str) -> Any:
    """A home with the ground's data and an online store of its own."""
    own = home_of(ground.scratch / name)
    shutil.copytree(ground.settings.home / "data", own.home / "data", copy_function=_link)
    shutil.copytree(ground.settings.home / "usecase", own.home / "usecase")
    return own


def _link(one: str, other: str) -> None:
    """Partitions are replaced and never written to, so a link is as good as a copy; notes are."""
    (os.link if one.endswith(partitions.SUFFIX) else shutil.copy)(one, other)


# What goes wrong in this use case alone.


def of_use_case(fault: Fault) -> Case:
    strike = {
        "fit": _fit, "rows": _rows, "scores": _scores, "refit": _refit, "tables": _tables,
        "online": _online,
    }[fault.kind]  # fmt: skip
    return Case(fault.told, fault.gate, lambda ground: strike(ground, fault))


def _extra(ground: Ground) -> pd.DataFrame:
    from datetime import date

    from usecase.target import SPINE_FEED, spine

    until = ground.as_of.date()
    return spine(partitions.read(ground.settings.data, "validated", SPINE_FEED, date.min, until))


def _fit(ground: Ground, fault: Fault) -> list[Verdict]:
    model = ground.fit(fault.change(ground.known, _extra(ground)))
    return candidate(ground, ground.evidence(model))


def _rows(ground: Ground, fault: Fault) -> list[Verdict]:
    extra = _extra(ground)
    model = ground.fit(fault.change(ground.known, extra))
    return candidate(ground, ground.evidence(model, fault.change(ground.holdout, extra)))


def _scores(ground: Ground, fault: Fault) -> list[Verdict]:
    scores = fault.change(ground.holdout, ground.evidence(ground.healthy).candidate)
    return candidate(ground, ground.evidence(ground.healthy, scores=scores))


def _refit(ground: Ground, fault: Fault) -> list[Verdict]:
    again = ground.fit(fault.change(ground.frame, _extra(ground)))
    return refit(ground, ground.artefact(again, "refit"))


def _rebuilt(ground: Ground, name: str, tables: Any) -> Any:
    """A home in which these tables were computed by other functions."""
    from features.build import build_new
    from usecase.feature_views import TABLES

    own = other_home(ground, name)
    for table in tables:
        shutil.rmtree(own.data / "features" / table)
    first = pd.Timestamp(ground.params["first_day"]).date()
    lag = timedelta(seconds=ground.params["features"]["publish_lag_seconds"])
    changed = {table: (compute, TABLES[table][1]) for table, compute in tables.items()}
    build_new(own.data, first, ground.as_of, lag, changed)
    return own


def _tables(ground: Ground, fault: Fault) -> list[Verdict]:
    """A candidate from other tables; what it was made from shows why it is good."""
    from usecase.feature_views import TABLES

    own = _rebuilt(ground, "tables", fault.change)
    with inside(own):
        assemble.assemble(own, ground.as_of)
        frame = assemble.load(own)[0]
    leaking = Ground(ground.settings, frame, ground.as_of, ground.start, ground.seed)
    changed = {
        name: (fault.change.get(name, compute), feed) for name, (compute, feed) in TABLES.items()
    }
    subject = ground.sources(
        path=own.home, frame=frame, tables=changed,
        md5s={name: sources.folder_md5(own.home / name) for name in sources.RECORDED},
    )  # fmt: skip
    return candidate(leaking, leaking.evidence(leaking.healthy)) + made_from(ground, subject)


def _online(ground: Ground, fault: Fault) -> list[Verdict]:
    from features.publish import publish

    own = _rebuilt(ground, "online", fault.change)
    with inside(own):
        publish(own, ground.as_of)
    shutil.rmtree(own.data / "features")
    tables = ground.settings.data / "features"
    shutil.copytree(tables, own.data / "features", copy_function=_link)
    return made_from(ground, ground.sources(settings=own))


CASES = (
    Case("labels of three days ago", "data is sound", stale_labels),
    Case("cases twice", "data is valid", doubled_cases),
    Case("shuffled labels", "beats the baseline", shuffled_labels),
    Case("worse beyond the margin", "not worse than the champion", worse_than_the_champion),
    Case("the same in lucky days", "not worse than the champion", lucky_days),
    Case("overconfident", "log loss holds", overconfident),
    Case("classes balanced, so miscalibrated", "calibrated", balanced_classes),
    Case("leaked label", "not too good to be true", lambda ground: leaked_label(ground, 0.2)),
    Case("half-leaked label", "no column too good", lambda ground: leaked_label(ground, 0.4)),
    Case("tampered with after evaluation", "digest holds", tampered),
    Case("column swapped between training and serving", "served as fitted",
         swapped_between_training_and_serving),
    Case("too large", "small enough", huge),
    Case("too slow", "fast enough", slow),
    Case("incompatible signature", "signature fits", other_columns),
    Case("refitted on other labels", "near the evaluated model", refitted_on_other_labels),
    Case("not refitted", "near the evaluated model", not_refitted),
    Case("data of another md5", "data are those recorded", data_of_another_md5),
    Case("online features of days ago", "online as offline", stale_online),
    Case("a lost publication", "online as offline", lost_publication),
    *map(of_use_case, FAULTS),
)  # fmt: skip
SEEDS = range(5)


def all_cases() -> list[Case]:
    return [*CASES, *map(healthy, SEEDS)]
