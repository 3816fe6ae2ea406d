"""How do the faults of the use case strike? Each at its place on the way to a release."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from typing import Any

import pandas as pd

from features import partitions
from pipelines.evaluation.gates import source_gates
from pipelines.evaluation.gates.verdict import Verdict
from pipelines.proofs.bad_sources import link, other_home
from pipelines.proofs.base_training import Ground, inside
from pipelines.proofs.gate_case import Case, candidate, made_from, refit
from pipelines.training import assemble
from settings import Settings
from usecase.faults import FAULTS, Fault


def of_use_case(fault: Fault) -> Case:
    strike = {
        "fit": _fit, "rows": _rows, "scores": _scores, "refit": _refit, "tables": _tables,
        "online": _online,
    }[fault.kind]  # fmt: skip
    return Case(fault.told, fault.gate, lambda ground: strike(ground, fault))


def _extra(ground: Ground) -> pd.DataFrame:
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


def _rebuilt(ground: Ground, name: str, tables: Any) -> Settings:
    """A home in which these tables were computed by other functions."""
    from features.table_builder import build_new
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
        assemble.assemble_training_set(own, ground.as_of)
        frame = assemble.load_training_set(own)[0]
    leaking = Ground(ground.settings, frame, ground.as_of, ground.start, ground.seed)
    changed = {
        name: (fault.change.get(name, compute), feed) for name, (compute, feed) in TABLES.items()
    }
    subject = ground.sources(
        path=own.home,
        frame=frame,
        tables=changed,
        md5s={
            name: source_gates.folder_md5(own.home / name) for name in source_gates.RECORDED_FOLDERS
        },
    )
    return candidate(leaking, leaking.evidence(leaking.healthy)) + made_from(ground, subject)


def _online(ground: Ground, fault: Fault) -> list[Verdict]:
    from features.online_publisher import publish

    own = _rebuilt(ground, "online", fault.change)
    with inside(own):
        publish(own, ground.as_of)
    shutil.rmtree(own.data / "features")
    tables = ground.settings.data / "features"
    shutil.copytree(tables, own.data / "features", copy_function=link)
    return made_from(ground, ground.sources(settings=own))


CASES = tuple(map(of_use_case, FAULTS))
