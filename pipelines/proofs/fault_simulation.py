"""Simulation of the loop on feeds with a fault: the real steps, day by day.

A home of its own takes over the data of the months before. Each day's batches are fetched with the
fault, validated, and turned into features. The champion's predictions are monitored as in a replay.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from features import partitions
from features.validated_cases import read_labels
from pipelines.ingestion import ingest, validate
from pipelines.proofs.base_training import BaseTraining
from pipelines.proofs.isolated_home import home_environment, isolated_settings, link_or_copy_file
from pipelines.replay.served_record import DAY
from pipelines.replay.simulated_day import ReplayState, ReplayWorld, observe_day, predict_cases
from pipelines.replay.trained_models import ReplayModels, TrainedModel
from pipelines.runtime import traffic
from pipelines.training import build_features
from settings import LoopError, Settings
from usecase import evaluation, source
from usecase.columns import FEATURES
from usecase.feed_faults import FeedFault

WATCHER_BY_TRIGGER = {
    "calibration": "performance", "performance": "performance", "saving": "performance",
    "slices": "performance", "labels": "labels", "target": "drift", "drift": "drift",
    "missing": "drift",
}  # fmt: skip


@dataclass(frozen=True)
class Notice:
    """A watcher's message and its time."""

    watcher: str
    at: datetime
    text: str


@dataclass(frozen=True)
class FaultOutcome:
    """The outcome of a fault that `began` then: notices, and the loop's reactions."""

    began: datetime
    notices: list[Notice]
    refused: bool
    retrained: bool
    decision_times: pd.Series[pd.Timestamp]  # of the cases


def simulate_fault(training: BaseTraining, fault: FeedFault) -> FaultOutcome:
    """Simulate the days of `fault`, until validation or freshness stops the feeds."""
    began = training.as_of + fault.begins * DAY
    end = training.as_of + fault.days * DAY
    with _scratch_home(training) as own:
        notices = _ingest(own, fault, began.date(), end)
        stops = [each for each in notices if each.watcher != "quarantine"]
        retrained = False
        cases = _labelled_cases(own, training.as_of, min((each.at for each in stops), default=end))
        if not stops:
            build_features.build_feature_tables(own, end)
            monitoring_notices, retrained = _monitor(training, _with_features(own, cases), end)
            notices += monitoring_notices
    notices = [
        replace(each, watcher="validation") if each.watcher == "quarantine" else each
        for each in notices
    ]
    return FaultOutcome(
        began,
        sorted(notices, key=lambda each: each.at),
        any(each.watcher == "validation" for each in stops),
        retrained,
        cases["decision_time"],
    )


@contextmanager
def _scratch_home(training: BaseTraining) -> Iterator[Settings]:
    """Yield a home with the training's batches and tables; remove it at the end."""
    folder = training.scratch / "faulty"
    shutil.rmtree(folder, ignore_errors=True)
    own = isolated_settings(folder)
    for layer in ("raw", "validated", "quarantine", "features"):
        shutil.copytree(
            training.settings.data / layer, own.data / layer, copy_function=link_or_copy_file
        )
    shutil.copytree(training.settings.home / "usecase", own.home / "usecase")
    shutil.copytree(training.settings.var / "feast", own.var / "feast")
    with home_environment(own):
        yield own
    shutil.rmtree(folder)


def _ingest(own: Settings, fault: FeedFault, since: date, end: datetime) -> list[Notice]:
    """Fetch and validate; return the notices, with `quarantine` as a watcher of its own."""

    def fetch(feed: str, day: date) -> pd.DataFrame:
        if day < since:
            return source.fetch(feed, day)
        return fault.change(source.fetch, feed, day, since).reset_index(drop=True)

    notices, reason = [], ""
    try:
        ingest.fetch_due_batches(own, end, fetch)
    except LoopError as error:
        reason = _reason(error)
    try:
        validate.validate_new_batches(own, end)
    except LoopError as error:
        reason = reason or _reason(error)
    for feed in source.FEEDS:
        refused = partitions.partition_days(own.data, "quarantine", f"refused/{feed}")
        if refused:
            notices.append(Notice("validation", _batch_time(refused[0]), reason))
        elif ingest.count_missing_batches(own, feed, end):
            days = partitions.partition_days(own.data, "validated", feed)
            # The alert fires after two hours (monitoring/stack/rules.yml: DataStale).
            at = _batch_time(days[-1] + timedelta(days=1)) + timedelta(hours=2)
            notices.append(Notice("freshness", at, reason))
        notices += _quarantine_notices(own, feed, since)
    return notices


def _reason(error: LoopError) -> str:
    """Return the first feed's problem, without the path and the advice."""
    line = str(error).splitlines()[0]
    return line.partition(f"{partitions.SUFFIX}: ")[2] or line


def _quarantine_notices(own: Settings, feed: str, since: date) -> list[Notice]:
    limit = own.params()["validation"]["max_quarantined"]
    for day in partitions.partition_days(own.data, "quarantine", feed):
        n_rows = validate.count_quarantined(own.data, feed, day)
        if day >= since and n_rows > limit:
            text = f"{n_rows} rows of {feed} in quarantine (limit {limit})"
            return [Notice("quarantine", _batch_time(day), text)]
    return []


def _batch_time(day: date) -> datetime:
    """Return when the batch of `day` arrives."""
    return (pd.Timestamp(day, tz="UTC") + timedelta(days=1)).to_pydatetime()


def _labelled_cases(own: Settings, first: datetime, end: datetime) -> pd.DataFrame:
    """Return the cases decided from `first` on, with the newest label of each."""
    from usecase.statements import newest

    labels = read_labels(own.data, (first - 2 * DAY).date(), end.date())
    cases = traffic.cases_between(own, first, end)
    return cases.merge(newest(labels, ["key"]), on="key", how="left", validate="1:1")


def _with_features(own: Settings, cases: pd.DataFrame) -> pd.DataFrame:
    """Return the cases with their features as of their decision."""
    from features.point_in_time import training_frame

    features = training_frame(own, cases.drop(columns=["label", "known_at"]))
    return features.merge(cases[["key", "label", "known_at"]], on="key", validate="1:1")


def _monitor(
    training: BaseTraining, cases: pd.DataFrame, end: datetime
) -> tuple[list[Notice], bool]:
    """Monitor the champion's predictions day by day; return notices and whether it retrains."""
    frame = pd.concat([training.holdout, cases], ignore_index=True)
    params = training.params
    # The calendar asks for a retraining with and without a fault.
    policy = params["monitoring"]["policy"]
    policy = {**policy, "triggers": [name for name in policy["triggers"] if name != "schedule"]}
    models = ReplayModels(frame, params, training.scratch / "models")
    labels = frame[["key", "label", "known_at"]].dropna()
    no_baseline = np.full(len(frame), np.nan)
    world = ReplayWorld(frame, labels, no_baseline, params, models, training.as_of)
    state = ReplayState.start(world, _champion(training, frame))
    predict_cases(world, state, world.rows(training.as_of, end))
    notices: dict[str, Notice] = {}
    retrained, day = False, training.as_of + DAY
    while day <= end:
        result = observe_day(world, state, policy, day)
        messages = [("labels" if each["code"] == "coverage_low" else "drift", each["told"])
                    for each in result["problems"]]  # fmt: skip
        messages += [(WATCHER_BY_TRIGGER[each["name"]], each["told"]) for each in result["triggers"]
                     if each["fired"] and each["name"] in WATCHER_BY_TRIGGER]  # fmt: skip
        for watcher, text in messages:
            notices.setdefault(watcher, Notice(watcher, day, text))
        retrained |= result["retrain"]
        day += DAY
    return list(notices.values()), retrained


def _champion(training: BaseTraining, frame: pd.DataFrame) -> TrainedModel:
    """Return the refit on all known cases."""
    holdout_scores = training.healthy.predict_proba(training.holdout[FEATURES])[:, 1]
    scores = training.refit.predict_proba(frame[FEATURES])[:, 1]
    expected: dict[str, Any] = evaluation.metrics(
        training.holdout["label"], holdout_scores, training.params["costs"]
    )
    reference = training.holdout.assign(probability=holdout_scores)
    return TrainedModel("champion", training.as_of, reference, expected, [], scores)
