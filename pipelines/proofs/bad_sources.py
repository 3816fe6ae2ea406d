"""Bad data, tables and stores that the source gates must refuse; the faults of the use case.

A fault of the use case strikes where its kind says, so it may spoil the model instead.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from typing import Any

import pandas as pd

from contract import UseCase
from features import partitions
from features.online_publisher import Publisher, publish_features
from features.publication_record import record_text
from features.table_builder import build_tables
from features.validated_cases import read_cases
from pipelines.proofs.base_training import (
    BaseTraining,
    GateCase,
    Subject,
    copy_home,
    link_or_copy_file,
    recorded_md5s,
)
from pipelines.replay.replay_world import home_environment
from pipelines.training import assemble
from pipelines.training.training_files import TrainingFiles
from settings import Settings


def data_of_another_md5(training: BaseTraining) -> Iterator[Subject]:
    """Change one label of the training set after its md5 was recorded."""
    path = copy_home(training.settings, training.scratch / "changed").home
    labels = training.frame["label"].to_numpy().copy()
    labels[0] = 1 - labels[0]
    target = path / "data" / training.settings.usecase / "training" / "training.parquet"
    partitions.write_partition(training.frame.assign(label=labels), target)
    yield training.training_sources(path=path)


def stale_online(training: BaseTraining) -> Iterator[Subject]:
    """Publish the online store only up to some days ago."""
    late = timedelta(hours=training.params["gates"]["sources"]["max_online_lag_hours"] + 24)
    own = copy_home(training.settings, training.scratch / "stale")
    with home_environment(own):
        publish_features(own, training.as_of - late)
    yield training.training_sources(settings=own)


def lost_publication(training: BaseTraining) -> Iterator[Subject]:
    """Record a complete publication whose last hour never reached the store."""
    own = copy_home(training.settings, training.scratch / "lost")
    before = training.as_of - timedelta(hours=1)
    with home_environment(own):
        publish_features(own, before)
        # From `as_of` to `as_of` there is no row, so this only moves the record.
        record = record_text(before)
        Publisher(own, training.as_of, training.as_of, expected_record=record).step(training.as_of)
    yield training.training_sources(settings=own)


def fault_in_rows(kind: str, change: Any, training: BaseTraining) -> Iterator[Subject]:
    """Put a fault into the rows of the fit, of the fit and the evaluation, or of the refit."""
    extra = read_cases(training.settings, date.min, training.as_of.date())
    if kind == "refit":
        yield training.refit_model(training.fit(change(training.frame, extra)), "refit")
    else:
        rows = change(training.holdout, extra) if kind == "rows" else training.holdout
        yield training.gate_inputs(training.fit(change(training.known, extra)), rows)


def fault_in_scores(change: Any, training: BaseTraining) -> Iterator[Subject]:
    scores = change(training.holdout, training.gate_inputs(training.healthy).candidate)
    yield training.gate_inputs(training.healthy, scores=scores)


def fault_in_tables(change: Any, training: BaseTraining) -> Iterator[Subject]:
    """Train a candidate on other tables; its sources reveal the leak."""
    own = _rebuilt_home(training, "tables", change)
    with home_environment(own):
        assemble.assemble_training_set(own, training.as_of)
    leaking = replace(training, frame=TrainingFiles(own.home, own.use_case).frame)
    yield leaking.gate_inputs(leaking.healthy)
    yield training.training_sources(
        path=own.home, tables={**own.use_case.tables(), **_changed_tables(own, change)},
        md5s=recorded_md5s(own),
    )  # fmt: skip


def fault_online(change: Any, training: BaseTraining) -> Iterator[Subject]:
    own = _rebuilt_home(training, "online", change)
    with home_environment(own):
        publish_features(own, training.as_of)
    shutil.rmtree(own.data / "features")
    tables = training.settings.data / "features"
    shutil.copytree(tables, own.data / "features", copy_function=link_or_copy_file)
    yield training.training_sources(settings=own)


def _changed_tables(own: Settings, change: Any) -> Any:
    tables = own.use_case.tables()
    return {table: (compute, tables[table][1]) for table, compute in change.items()}


def _rebuilt_home(training: BaseTraining, name: str, change: Any) -> Settings:
    """Return a home whose tables in `change` are computed by other functions."""
    own = copy_home(training.settings, training.scratch / name)
    for table in change:
        shutil.rmtree(own.data / "features" / table)
    first = pd.Timestamp(training.params["first_day"]).date()
    lag = timedelta(seconds=training.params["features"]["publish_lag_seconds"])
    build_tables(own, first, training.as_of, lag, _changed_tables(own, change))
    return own


KINDS: dict[str, Callable[[Any, BaseTraining], Iterator[Subject]]] = {
    **{kind: partial(fault_in_rows, kind) for kind in ("fit", "rows", "refit")},
    "scores": fault_in_scores, "tables": fault_in_tables, "online": fault_online,
}  # fmt: skip
BAD_SOURCES: tuple[GateCase, ...] = (
    GateCase("data of another md5", "data are those recorded", data_of_another_md5),
    GateCase("online features of days ago", "online as offline", stale_online),
    GateCase("a lost publication", "online as offline", lost_publication),
)  # fmt: skip


def use_case_faults(use_case: UseCase) -> list[GateCase]:
    """Return a case for each fault that the use case states."""
    return [
        GateCase(fault.description, fault.gate, partial(KINDS[fault.kind], fault.change))
        for fault in use_case.gate_faults()
    ]
