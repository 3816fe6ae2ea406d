"""What would the loop have seen of a fault in its feeds? The real steps, on batches made faulty.

A home of its own takes over the months before; then each day's batches are fetched with the fault
in them, validated, made into features and joined, and the champion's answers are watched day by
day, as a replay does it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from features import partitions
from monitoring import retraining_decision
from pipelines.ingestion import ingest, validate
from pipelines.proofs.bad_sources import link_or_copy_file
from pipelines.proofs.base_training import BaseTraining, home_environment, isolated_settings
from pipelines.replay import simulated_day
from pipelines.replay.replay_state import DAY, ReplayState, ReplayWorld, predict_cases
from pipelines.replay.trained_models import ReplayModels, TrainedModel
from pipelines.training import build_features
from settings import LoopError, Settings
from usecase import evaluation, source
from usecase.columns import FEATURES
from usecase.feed_faults import FeedFault


@dataclass(frozen=True)
class Notice:
    """Who saw something, when, and what was said of it."""

    watcher: str
    at: datetime
    told: str


@dataclass(frozen=True)
class FaultOutcome:
    """All that came of a fault that `began` then: who noticed, and what the loop did."""

    began: datetime
    notices: list[Notice]
    refused: bool
    retrained: bool
    decided: pd.Series[pd.Timestamp]  # when each case was decided


WATCHER_BY_TRIGGER = {
    "calibration": "performance", "performance": "performance", "saving": "performance",
    "slices": "performance", "labels": "labels", "target": "drift", "drift": "drift",
    "missing": "drift",
}  # fmt: skip


def simulate_fault(ground: BaseTraining, fault: FeedFault) -> FaultOutcome:
    """Lives the days of `fault`, until validation or freshness stops the feeds, or to their end."""
    began = ground.as_of + fault.begins * DAY
    since = began.date()
    end = ground.as_of + fault.days * DAY
    with _home(ground) as own:
        found = _batches(own, fault, since, end)
        stopped = [each for each in found if each.watcher != "quarantine"]
        retrained = False
        cases = _cases(own, ground.as_of, min((each.at for each in stopped), default=end))
        if not stopped:
            build_features.build_feature_tables(own, end)
            watched, retrained = _watched(ground, _served(own, cases), end)
            found += watched
    refused = any(each.watcher == "validation" for each in stopped)
    told = [Notice("validation", each.at, each.told) if each.watcher == "quarantine" else each
            for each in found]  # fmt: skip
    return FaultOutcome(
        began, sorted(told, key=lambda each: each.at), refused, retrained, cases["decision_time"]
    )


@contextmanager
def _home(ground: BaseTraining) -> Iterator[Settings]:
    """A home with the ground's batches and tables, which goes when the case is over."""
    folder = ground.scratch / "faulty"
    shutil.rmtree(folder, ignore_errors=True)
    own = isolated_settings(folder)
    for layer in ("raw", "validated", "quarantine", "features"):
        shutil.copytree(
            ground.settings.data / layer, own.data / layer, copy_function=link_or_copy_file
        )
    shutil.copytree(ground.settings.home / "usecase", own.home / "usecase")
    shutil.copytree(ground.settings.var / "feast", own.var / "feast")
    with home_environment(own):
        yield own
    shutil.rmtree(folder)


def _batches(own: Settings, fault: FeedFault, since: date, end: datetime) -> list[Notice]:
    """Fetches, validates and builds; who noticed something, `quarantine` included."""

    def fetch(feed: str, day: date) -> pd.DataFrame:
        if day < since:
            return source.fetch(feed, day)
        return fault.change(source.fetch, feed, day, since).reset_index(drop=True)

    found, told = [], ""
    try:
        ingest.fetch_due_batches(own, end, fetch)
    except LoopError as error:
        told = _reason(error)
    try:
        validate.validate_new_batches(own, end)
    except LoopError as error:
        told = told or _reason(error)
    for feed in source.FEEDS:
        refused = partitions.partition_days(own.data, "quarantine", f"refused/{feed}")
        if refused:
            found.append(Notice("validation", _over(refused[0]), told))
        elif ingest.count_missing_batches(own, feed, end):
            days = partitions.partition_days(own.data, "validated", feed)
            # The alarm waits for two hours (monitoring/stack/rules.yml: DataStale).
            at = _over(days[-1] + timedelta(days=1)) + timedelta(hours=2)
            found.append(Notice("freshness", at, told))
        found += _quarantined(own, feed, since)
    return found


def _reason(error: LoopError) -> str:
    """What was wrong with the first feed, without where its batch went and what to do."""
    line = str(error).splitlines()[0]
    return line.partition(f"{partitions.SUFFIX}: ")[2] or line


def _quarantined(own: Settings, feed: str, since: date) -> list[Notice]:
    limit = own.params()["validation"]["max_quarantined"]
    for day in partitions.partition_days(own.data, "quarantine", feed):
        n_rows = validate.count_quarantined(own.data, feed, day)
        if day >= since and n_rows > limit:
            told = f"{n_rows} rows of {feed} in quarantine (limit {limit})"
            return [Notice("quarantine", _over(day), told)]
    return []


def _over(day: date) -> datetime:
    """When the batch of `day` is there."""
    return (pd.Timestamp(day, tz="UTC") + timedelta(days=1)).to_pydatetime()


def _cases(own: Settings, first: datetime, end: datetime) -> pd.DataFrame:
    """The cases decided from `first` on, with the labels that ever came."""
    from usecase.statements import newest
    from usecase.target import LABEL_FEED, SPINE_FEED, labels, spine

    days = (first - 2 * DAY).date(), end.date()
    cases = spine(partitions.read_days(own.data, "validated", SPINE_FEED, *days))
    cases = cases[(cases["decision_time"] >= first) & (cases["decision_time"] < end)]
    cases = cases.sort_values(["decision_time", "key"], ignore_index=True)
    truth = newest(labels(partitions.read_days(own.data, "validated", LABEL_FEED, *days)), ["key"])
    return cases.merge(truth, on="key", how="left", validate="1:1")


def _served(own: Settings, cases: pd.DataFrame) -> pd.DataFrame:
    """The cases with their features as they were visible."""
    from features.point_in_time import training_frame

    features = training_frame(own, cases.drop(columns=["label", "known_at"]))
    return features.merge(cases[["key", "label", "known_at"]], on="key", validate="1:1")


def _watched(ground: BaseTraining, cases: pd.DataFrame, end: datetime) -> tuple[list[Notice], bool]:
    """What monitoring says of the champion's answers, day by day; does it ask to retrain?"""
    frame = pd.concat([ground.holdout, cases], ignore_index=True)
    params = ground.params
    # The calendar would ask for a retraining whatever happens.
    policy = params["monitoring"]["policy"]
    policy = {**policy, "triggers": [name for name in policy["triggers"] if name != "schedule"]}
    models = ReplayModels(frame, params, ground.scratch / "models")
    world = ReplayWorld(frame, np.full(len(frame), np.nan), params, models, ground.as_of)
    state = _state(ground, frame)
    predict_cases(world, state, world.rows(ground.as_of, end))
    found: dict[str, Notice] = {}
    retrained, day = False, ground.as_of + DAY
    while day <= end:
        evidence, _ = simulated_day.collect_evidence(world, state, day)
        decision = retraining_decision.decide_retraining(evidence, policy, day)
        told = [("labels" if each.code == "coverage_low" else "drift", each.told)
                for each in evidence.problems]  # fmt: skip
        told += [(WATCHER_BY_TRIGGER[each.name], each.told) for each in decision.triggers
                 if each.fired and each.name in WATCHER_BY_TRIGGER]  # fmt: skip
        for watcher, what in told:
            found.setdefault(watcher, Notice(watcher, day, what))
        retrained |= decision.retrain
        day += DAY
    return list(found.values()), retrained


def _state(ground: BaseTraining, frame: pd.DataFrame) -> ReplayState:
    """The champion, refitted on all that the ground knows, answers from the start."""
    rows = np.arange(len(ground.holdout))
    judged = ground.healthy.predict_proba(ground.holdout[FEATURES])[:, 1]
    scores = ground.refit.predict_proba(frame[FEATURES])[:, 1]
    expected: dict[str, Any] = evaluation.metrics(
        ground.holdout["label"], judged, ground.params["costs"]
    )
    champion = TrainedModel("champion", ground.as_of, rows, judged, scores, expected, [])
    nobody = np.full(len(frame), np.nan), np.full(len(frame), -1)
    return ReplayState(champion, ground.as_of, *nobody)
