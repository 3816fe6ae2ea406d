"""How do the faults of the use case strike? Each at its place on the way to a release."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from typing import Any

import pandas as pd

from features import partitions
from pipelines.evaluation.gates import source_gates
from pipelines.evaluation.gates.verdict import Verdict
from pipelines.proofs.bad_sources import link_or_copy_file, other_home
from pipelines.proofs.base_training import BaseTraining, home_environment
from pipelines.proofs.gate_case import GateCase, judge_candidate, judge_refit, judge_sources
from pipelines.training import assemble
from settings import Settings
from usecase.faults import FAULTS, Fault


def use_case_fault(fault: Fault) -> GateCase:
    strike = {
        "fit": _fit, "rows": _rows, "scores": _scores, "refit": _refit, "tables": _tables,
        "online": _online,
    }[fault.kind]  # fmt: skip
    return GateCase(fault.told, fault.gate, lambda ground: strike(ground, fault))


def _extra(ground: BaseTraining) -> pd.DataFrame:
    from usecase.target import SPINE_FEED, spine

    until = ground.as_of.date()
    return spine(
        partitions.read_days(ground.settings.data, "validated", SPINE_FEED, date.min, until)
    )


def _fit(ground: BaseTraining, fault: Fault) -> list[Verdict]:
    model = ground.fit(fault.change(ground.known, _extra(ground)))
    return judge_candidate(ground, ground.evidence(model))


def _rows(ground: BaseTraining, fault: Fault) -> list[Verdict]:
    extra = _extra(ground)
    model = ground.fit(fault.change(ground.known, extra))
    return judge_candidate(ground, ground.evidence(model, fault.change(ground.holdout, extra)))


def _scores(ground: BaseTraining, fault: Fault) -> list[Verdict]:
    scores = fault.change(ground.holdout, ground.evidence(ground.healthy).candidate)
    return judge_candidate(ground, ground.evidence(ground.healthy, scores=scores))


def _refit(ground: BaseTraining, fault: Fault) -> list[Verdict]:
    again = ground.fit(fault.change(ground.frame, _extra(ground)))
    return judge_refit(ground, ground.artefact(again, "refit"))


def _rebuilt(ground: BaseTraining, name: str, tables: Any) -> Settings:
    """A home in which these tables were computed by other functions."""
    from features.table_builder import build_tables
    from usecase.feature_views import TABLES

    own = other_home(ground, name)
    for table in tables:
        shutil.rmtree(own.data / "features" / table)
    first = pd.Timestamp(ground.params["first_day"]).date()
    lag = timedelta(seconds=ground.params["features"]["publish_lag_seconds"])
    changed = {table: (compute, TABLES[table][1]) for table, compute in tables.items()}
    build_tables(own.data, first, ground.as_of, lag, changed)
    return own


def _tables(ground: BaseTraining, fault: Fault) -> list[Verdict]:
    """A candidate from other tables; what it was made from shows why it is good."""
    from usecase.feature_views import TABLES

    own = _rebuilt(ground, "tables", fault.change)
    with home_environment(own):
        assemble.assemble_training_set(own, ground.as_of)
        frame = assemble.load_training_set(own)[0]
    leaking = BaseTraining(ground.settings, frame, ground.as_of, ground.start, ground.seed)
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
    return judge_candidate(leaking, leaking.evidence(leaking.healthy)) + judge_sources(
        ground, subject
    )


def _online(ground: BaseTraining, fault: Fault) -> list[Verdict]:
    from features.online_publisher import publish_features

    own = _rebuilt(ground, "online", fault.change)
    with home_environment(own):
        publish_features(own, ground.as_of)
    shutil.rmtree(own.data / "features")
    tables = ground.settings.data / "features"
    shutil.copytree(tables, own.data / "features", copy_function=link_or_copy_file)
    return judge_sources(ground, ground.sources(settings=own))


USE_CASE_FAULTS = tuple(map(use_case_fault, FAULTS))
