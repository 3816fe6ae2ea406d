"""Simulation of the loop on feeds with a fault: the real steps, day by day.

A home of its own takes over the data of the months before. Each day's batches are fetched with the
fault, validated, and turned into features. The champion's predictions are monitored as in a replay.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pandas as pd

from contract import FeedFault
from features import partitions
from features.validated_cases import add_labels, read_labels
from monitoring.measures import scores as measures
from pipelines.ingestion import accepted_batches, ingest, validate
from pipelines.proofs.base_training import BaseTraining, copy_home
from pipelines.replay.replay_world import ReplayWorld, TrainedModel, home_environment
from pipelines.replay.served_record import DAY
from pipelines.replay.simulated_day import ReplayState, observe_day, predict_cases
from pipelines.runtime import traffic
from pipelines.training import assemble, build_features
from pipelines.training.train import probabilities
from settings import LoopError, Settings

WATCHER_BY_TRIGGER = {
    "calibration": "performance", "performance": "performance", "saving": "performance",
    "slices": "performance", "labels": "labels", "target": "drift", "drift": "drift",
    "missing": "drift",
}  # fmt: skip


class Notice(NamedTuple):
    """A watcher's message and its time."""

    watcher: str
    at: datetime
    text: str


@dataclass(frozen=True)
class FaultOutcome:
    """The outcome of a fault that `began` then: notices by time, and the loop's reactions."""

    began: datetime
    notices: list[Notice]
    refused: bool
    retrained: bool
    decision_times: pd.Series[pd.Timestamp]  # of the cases


def simulate_fault(training: BaseTraining, fault: FeedFault) -> FaultOutcome:
    """Simulate the days of `fault`, until validation or freshness stops the feeds."""
    began = training.as_of + fault.begins * DAY
    end = training.as_of + fault.days * DAY
    retrained = False
    with TemporaryDirectory(dir=training.scratch) as folder:
        own = copy_home(training.settings, Path(folder))
        shutil.copytree(training.settings.state / "feast", own.state / "feast")
        with home_environment(own):
            stops = _ingest(own, fault, began.date(), end)
            notices = _quarantine_notices(own, began.date())
            stopped = min((each.at for each in stops), default=end)
            cases = _labelled_cases(own, training.as_of, stopped)
            if not stops:
                build_features.build_feature_tables(own, end)
                features = assemble.join_features(own, cases)
                monitored, retrained = _monitor(training, features, end)
                notices += monitored
    refused = any(each.watcher == "validation" for each in stops)
    notices = sorted([*stops, *notices], key=attrgetter("at"))
    return FaultOutcome(began, notices, refused, retrained, cases["decision_time"])


def _ingest(own: Settings, fault: FeedFault, since: date, end: datetime) -> list[Notice]:
    """Fetch and validate; return the notices that stop a feed."""

    publish = own.use_case.fetch

    def fetch(feed: str, day: date) -> pd.DataFrame:
        if day < since:
            return publish(feed, day)
        return fault.change(publish, feed, day, since).reset_index(drop=True)

    stops, reason = [], ""
    for step in (
        lambda: ingest.fetch_due_batches(own, end, fetch),
        lambda: validate.validate_new_batches(own, end),
    ):
        try:
            step()
        except LoopError as error:  # the first feed's problem, without the path and the advice
            line = str(error).splitlines()[0]
            reason = reason or line.partition(f"{partitions.SUFFIX}: ")[2] or line
    for feed in own.use_case.feeds:
        if refused := partitions.partition_days(own.data, "quarantine", f"refused/{feed}"):
            stops.append(Notice("validation", _batch_time(refused[0]), reason))
        elif ingest.count_missing_batches(own, feed, end):
            last = partitions.partition_days(own.data, "validated", feed)[-1]
            # The alert fires after two hours (monitoring/stack/rules.yml: DataStale).
            stops.append(Notice("freshness", _batch_time(last + DAY) + timedelta(hours=2), reason))
    return stops


def _quarantine_notices(own: Settings, since: date) -> list[Notice]:
    """Return a notice for each feed, of its first batch with too many rows in quarantine."""
    limit, notices = own.params()["validation"]["max_quarantined"], []
    quarantined = accepted_batches.count_quarantined(own)
    for feed in own.use_case.feeds:
        for day in partitions.partition_days(own.data, "quarantine", feed):
            n_rows = quarantined[feed, day]
            if day >= since and n_rows > limit:
                text = f"{n_rows} rows of {feed} in quarantine (limit {limit})"
                notices.append(Notice("validation", _batch_time(day), text))
                break
    return notices


def _batch_time(day: date) -> datetime:
    """Return when the batch of `day` arrives."""
    return datetime.combine(day + DAY, time(), UTC)


def _labelled_cases(own: Settings, first: datetime, end: datetime) -> pd.DataFrame:
    """Return the cases decided from `first` on, with the newest label of each."""
    labels = read_labels(own, (first - 2 * DAY).date(), end.date())
    cases = traffic.cases_between(own, first, end)
    return add_labels(cases, labels, own.use_case.horizon, end + 2 * DAY)


def _monitor(
    training: BaseTraining, cases: pd.DataFrame, end: datetime
) -> tuple[list[Notice], bool]:
    """Monitor the champion's predictions day by day; return notices and whether it retrains.

    The champion is the refit on all known cases.
    """
    frame = pd.concat([training.holdout, cases], ignore_index=True)
    params = training.params
    # The calendar asks for a retraining with and without a fault.
    policy = params["monitoring"]["policy"]
    policy = {**policy, "triggers": [name for name in policy["triggers"] if name != "schedule"]}
    scores = probabilities(training.healthy, training.holdout)
    champion = TrainedModel(
        "champion", training.as_of, training.holdout.assign(probability=scores),
        measures.metrics(training.holdout["label"], scores, params["costs"]), [],
        probabilities(training.refit, frame),
    )  # fmt: skip
    labels = frame[["key", "label", "known_at"]].dropna()
    no_baseline = np.full(len(frame), np.nan)
    models = training.scratch / "models"
    world = ReplayWorld(
        training.settings.use_case, frame, labels, no_baseline, params, models, training.as_of,
    )  # fmt: skip
    state = ReplayState.start(world, champion)
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
