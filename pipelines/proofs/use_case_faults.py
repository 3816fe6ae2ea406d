"""The faults of the use case (`usecase.faults`) as cases: each strikes where its kind says."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from typing import Any

import pandas as pd

from features.validated_cases import read_cases
from pipelines.evaluation.gates import source_gates
from pipelines.evaluation.gates.verdict import Verdict
from pipelines.proofs.base_training import BaseTraining
from pipelines.proofs.gate_case import GateCase, judge_candidate, judge_refit, judge_sources
from pipelines.proofs.isolated_home import copy_home, home_environment, link_or_copy_file
from pipelines.training import assemble
from pipelines.training.training_files import TrainingFiles
from settings import Settings
from usecase.faults import FAULTS, Fault


def use_case_fault(fault: Fault) -> GateCase:
    run = {
        "fit": _fit, "rows": _rows, "scores": _scores, "refit": _refit, "tables": _tables,
        "online": _online,
    }[fault.kind]  # fmt: skip
    return GateCase(fault.told, fault.gate, lambda training: run(training, fault))


def _extra(training: BaseTraining) -> pd.DataFrame:
    return read_cases(training.settings.data, date.min, training.as_of.date())


def _fit(training: BaseTraining, fault: Fault) -> list[Verdict]:
    model = training.fit(fault.change(training.known, _extra(training)))
    return judge_candidate(training, training.gate_inputs(model))


def _rows(training: BaseTraining, fault: Fault) -> list[Verdict]:
    extra = _extra(training)
    model = training.fit(fault.change(training.known, extra))
    return judge_candidate(
        training, training.gate_inputs(model, fault.change(training.holdout, extra))
    )


def _scores(training: BaseTraining, fault: Fault) -> list[Verdict]:
    scores = fault.change(training.holdout, training.gate_inputs(training.healthy).candidate)
    return judge_candidate(training, training.gate_inputs(training.healthy, scores=scores))


def _refit(training: BaseTraining, fault: Fault) -> list[Verdict]:
    model = training.fit(fault.change(training.frame, _extra(training)))
    return judge_refit(training, training.refit_model(model, "refit"))


def _rebuilt_home(training: BaseTraining, name: str, tables: Any) -> Settings:
    """Return a home whose `tables` are computed by other functions."""
    from features.table_builder import build_tables
    from usecase.feature_tables import TABLES

    own = copy_home(training.settings, training.scratch / name)
    for table in tables:
        shutil.rmtree(own.data / "features" / table)
    first = pd.Timestamp(training.params["first_day"]).date()
    lag = timedelta(seconds=training.params["features"]["publish_lag_seconds"])
    changed = {table: (compute, TABLES[table][1]) for table, compute in tables.items()}
    build_tables(own.data, first, training.as_of, lag, changed)
    return own


def _tables(training: BaseTraining, fault: Fault) -> list[Verdict]:
    """Train a candidate on other tables; its sources reveal the leak."""
    from usecase.feature_tables import TABLES

    own = _rebuilt_home(training, "tables", fault.change)
    with home_environment(own):
        assemble.assemble_training_set(own, training.as_of)
        frame = TrainingFiles(own.home).frame
    leaking = BaseTraining(training.settings, frame, training.as_of, training.start, training.seed)
    changed = {
        name: (fault.change.get(name, compute), feed) for name, (compute, feed) in TABLES.items()
    }
    changed_sources = training.training_sources(
        path=own.home,
        tables=changed,
        md5s={
            name: source_gates.folder_md5(own.home / name) for name in source_gates.RECORDED_FOLDERS
        },
    )
    return judge_candidate(leaking, leaking.gate_inputs(leaking.healthy)) + judge_sources(
        training, changed_sources
    )


def _online(training: BaseTraining, fault: Fault) -> list[Verdict]:
    from features.online_publisher import publish_features

    own = _rebuilt_home(training, "online", fault.change)
    with home_environment(own):
        publish_features(own, training.as_of)
    shutil.rmtree(own.data / "features")
    tables = training.settings.data / "features"
    shutil.copytree(tables, own.data / "features", copy_function=link_or_copy_file)
    return judge_sources(training, training.training_sources(settings=own))


USE_CASE_FAULTS = tuple(map(use_case_fault, FAULTS))
