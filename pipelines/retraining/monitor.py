"""What production shows as of a moment, and the decision that follows: measured once, then kept."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features import durable_files, partitions
from monitoring import retraining_decision
from monitoring.measures import performance
from monitoring.measures import slices as sliced
from monitoring.retraining_triggers import MonitoringEvidence, MonitoringFinding
from pipelines.training import training_outcome
from serving.prediction_log import reader, reported_outcomes
from serving.release import document
from settings import LoopError, Settings, UserError

logger = logging.getLogger(__name__)


def monitor_champion(
    settings: Settings, as_of: datetime, every_days: float | None = None
) -> dict[str, Any]:
    """Measures the predictions of the window before `as_of`, and decides whether to retrain.

    By `monitoring.policy`; its `every_days` is the given one, if one is given.

    Writes the result to `var/monitoring`, and unless the settings want no pages two of them to
    `var/reports` and a run to Evidently's workspace; the same moment and champion asked again give
    the stored result, unless a check could not run. Raises `LoopError` if nothing is served, or the
    champion predicted nothing in the window; `UserError` for a moment that its training knew.
    """
    current = document.read_release(settings.release_file)
    if current is None:
        raise LoopError("There is no model to monitor: run `mlops run`.")
    folder = (settings.release_file.parent / current.champion.path).parent
    card = json.loads((folder / "card.json").read_text())
    stored = settings.var / "monitoring" / f"{as_of:%Y%m%dT%H%M}.json"
    found = durable_files.read_json(stored)
    if as_of <= datetime.fromisoformat(card["data_until"]):
        if found is None:
            raise UserError(
                f"Version {current.champion.version} was trained on what was known by "
                f"{card['data_until'][:16]}: choose a later moment than {as_of:%Y-%m-%dT%H:%M}."
            )
        return dict(found)  # this champion follows from that decision, which stands
    if found and found["champion"] == current.champion.version and not found["problems"]:
        return dict(found)
    policy = dict(settings.params()["monitoring"]["policy"])
    if every_days is not None:
        policy["every_days"] = every_days
    result = measure_window(settings, as_of, current, folder, card, policy)
    durable_files.write_json(stored, result)
    return result


def measure_window(
    settings: Settings, as_of: datetime, current: document.Release, folder: Path,
    card: dict[str, Any], policy: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """The checks on the champion, whose files are in `folder`, the decision, and the reports."""
    params, champion, challenger = settings.params(), current.champion.version, current.challenger
    # An experiment lasts weeks by its plan: what is trained meanwhile is registered and waits.
    on_its_way = challenger is not None and challenger.stage != "experiment"
    retraining_decision.check_policy(policy)
    reference = pd.read_parquet(folder / "reference.parquet")
    joined = read_labelled_predictions(settings, as_of, params, champion)
    live, problems = _live(joined, params, as_of)
    slices, unsliced = _slices(joined, params, as_of)
    drift, undrifted = _drift(settings, reference, joined, params, as_of)
    problems += [*unsliced, *undrifted]
    decision = retraining_decision.decide_retraining(
        MonitoringEvidence(
            champion=champion, data_until=datetime.fromisoformat(card["data_until"]),
            n_labelled=int(joined["label"].notna().sum()),
            live=live, expected=card["evaluation"], drift=drift, problems=problems,
            last_training=last_training_moment(settings, as_of),
            n_new=count_new_labels(settings, datetime.fromisoformat(card["data_until"]), as_of),
            under_way=challenger.model.version if challenger and on_its_way else None,
            slices=slices, days=performance.days_watched(joined, as_of),
        ),
        policy, as_of,
    )  # fmt: skip
    result = {
        **decision.as_dict(), "champion": champion,
        "n_predictions": len(joined), "coverage": performance.label_coverage(joined),
        "delay_hours": performance.median_label_delay_hours(joined), "live": live, "drift": drift,
        "expected": card["evaluation"], "slices": slices or [],
        "problems": [asdict(each) for each in problems],
        "label_coverage": performance.due_label_coverage(joined, params, as_of),
        "estimated": performance.estimated_cost(joined, params["costs"], as_of),
    }  # fmt: skip
    if settings.pages:
        _report(settings, result, joined, reference, params, as_of)
    return result


def latest_result(settings: Settings) -> dict[str, Any] | None:
    """The newest stored result; None if there is none."""
    stored = sorted((settings.var / "monitoring").glob("*.json"))
    return json.loads(stored[-1].read_text()) if stored else None


def last_training_moment(settings: Settings, as_of: datetime) -> datetime | None:
    """As of when the newest training before `as_of` was, whatever came of it."""
    moments = [
        datetime.fromisoformat(each["as_of"]) for each in training_outcome.list_outcomes(settings)
    ]
    return max((moment for moment in moments if moment < as_of), default=None)


def count_new_labels(settings: Settings, since: datetime, as_of: datetime) -> int:
    """How many cases' labels became known, or were stated anew, from `since` on before `as_of`."""
    from usecase.statements import newest
    from usecase.target import LABEL_FEED, labels

    known = partitions.read_days(settings.data, "validated", LABEL_FEED, since.date(), as_of.date())
    if known.empty:
        return 0
    truth = newest(labels(known), ["key"], before=as_of)
    return int((truth["known_at"] >= since).sum())


def read_labelled_predictions(
    settings: Settings, as_of: datetime, params: dict[str, Any], champion: str
) -> pd.DataFrame:
    """What the champion predicted in the window before `as_of`, with the labels known by then.

    The window is one of decision times: a replay logs at another time than it decides.
    """
    from usecase.target import LABEL_FEED, labels

    since = as_of - timedelta(days=params["monitoring"]["window_days"])
    log = reader.read_predictions(settings.predictions, since=since, until=as_of)
    log = log[log["model_version"] == champion]
    if log.empty:
        raise LoopError(
            f"No prediction by version {champion} from {since:%Y-%m-%d} to {as_of:%Y-%m-%d} is in "
            "the log: nothing to monitor. Send requests to the service (`mlops serve`), or run "
            "`mlops run`."
        )
    known = partitions.read_days(settings.data, "validated", LABEL_FEED, since.date(), as_of.date())
    if known.empty:
        raise LoopError(f"No validated {LABEL_FEED} since {since:%Y-%m-%d}: run `mlops ingest`.")
    told = reported_outcomes.reported_labels(
        settings.predictions
    )  # by those who saw how it turned out
    truth = pd.concat([labels(known), told], ignore_index=True) if len(told) else labels(known)
    return performance.join_labels(log, truth, as_of)


def logged_features(joined: pd.DataFrame) -> pd.DataFrame:
    """The served features of each prediction, under the model's own names; NaN if not logged."""
    from usecase.columns import FEATURES

    logged = {f"features.{name}": name for name in FEATURES if f"features.{name}" in joined}
    found = joined[list(logged)].rename(columns=logged).reindex(columns=FEATURES)
    # A column of None alone is of no type; as NaN it is measured like any other that is empty.
    empty = [name for name in FEATURES if found[name].isna().all()]
    return found.assign(**dict.fromkeys(empty, np.nan))


def _live(
    joined: pd.DataFrame, params: dict[str, Any], as_of: datetime
) -> tuple[dict[str, float] | None, list[MonitoringFinding]]:
    """The metrics, None if there are none, and what is wrong with them."""
    missing = performance.describe_missing_labels(joined, params, as_of)
    problems = [MonitoringFinding("coverage_low", missing)] if missing else []
    try:
        return performance.live_metrics(joined, params["costs"], params["seed"]), problems
    except ValueError as error:
        return None, [
            *problems,
            MonitoringFinding("performance_unmeasured", f"performance ({error})"),
        ]


def _slices(
    joined: pd.DataFrame, params: dict[str, Any], as_of: datetime
) -> tuple[list[dict[str, Any]] | None, list[MonitoringFinding]]:
    features = logged_features(joined)
    try:
        return sliced.measure_slices(joined, features, params, as_of), sliced.slice_problems(
            features
        )
    except Exception as error:  # whatever stopped it: a check that could not run has failed
        logger.exception("The check of slices stopped")
        return None, [
            MonitoringFinding("slices_unmeasured", f"slices ({type(error).__name__}: {error})")
        ]


def _drift(
    settings: Settings, reference: pd.DataFrame, joined: pd.DataFrame, params: dict[str, Any],
    as_of: datetime,
) -> tuple[dict[str, Any] | None, list[MonitoringFinding]]:  # fmt: skip
    from monitoring.measures import drift
    from monitoring.pages import drift_report
    from usecase.columns import CATEGORIES, FEATURES

    current = pd.concat([logged_features(joined), joined[["probability", "label"]]], axis=1)
    try:
        found, snapshot = drift.measure_drift(
            reference, current, features=FEATURES, categories=CATEGORIES,
            limits=params["monitoring"]["drift"], seed=params["seed"], with_snapshot=settings.pages,
        )  # fmt: skip
    except Exception as error:  # whatever stopped it: a check that could not run has failed
        if not isinstance(error, LoopError):
            logger.exception("The drift check stopped")
        return None, [MonitoringFinding("drift_unmeasured", f"drift ({error})")]
    if not settings.pages:
        return asdict(found), drift.drift_problems(found)
    html = settings.var / "reports" / f"drift-{as_of:%Y-%m-%d}.html"
    name = f"as of {as_of:%Y-%m-%d %H:%M}"
    drift_report.publish_drift_report(
        snapshot, html, settings.var / "evidently", name=name, as_of=as_of
    )
    return asdict(found), drift.drift_problems(found)


def _report(
    settings: Settings, result: dict[str, Any], joined: pd.DataFrame, reference: pd.DataFrame,
    params: dict[str, Any], as_of: datetime,
) -> None:  # fmt: skip
    from monitoring.pages import monitoring_page

    days = performance.daily_performance(joined, params["costs"])
    path = settings.var / "reports" / f"monitoring-{as_of:%Y-%m-%d}.html"
    monitoring_page.write_monitoring_page(path, result, days, joined, reference)
