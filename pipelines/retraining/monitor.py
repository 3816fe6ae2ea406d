"""Measure the champion in production as of a time, decide on a retraining, and store the result."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from features import durable_files
from monitoring import retraining_decision
from monitoring.evidence import MonitoringEvidence, MonitoringFinding
from monitoring.measures import performance
from monitoring.measures import slices as slice_measures
from pipelines.retraining import production_data
from serving.release import document
from settings import LoopError, Settings, UserError

logger = logging.getLogger(__name__)


def monitor_champion(
    settings: Settings, as_of: datetime, every_days: float | None = None
) -> dict[str, Any]:
    """Measure the predictions of the window before `as_of`, and decide whether to retrain.

    The policy is `monitoring.policy` of the parameters; `every_days`, if given, replaces its value.

    Write the result to `var/monitoring`. Unless the settings turn pages off, write two pages to
    `var/reports` and a run to Evidently's workspace. A second call with the same time and champion
    returns the stored result, unless a check could not run.

    Raise `LoopError` if nothing is served, or if the champion has no predictions in the window.
    Raise `UserError` if the champion was trained on data up to `as_of` or later.
    """
    release = document.read_release(settings.release_file)
    if release is None:
        raise LoopError("There is no model to monitor. Run `mlops run`.")
    champion = release.champion
    folder = (settings.release_file.parent / champion.path).parent
    card = json.loads((folder / "card.json").read_text())
    path = settings.var / "monitoring" / f"{as_of:%Y%m%dT%H%M}.json"
    stored = durable_files.read_json(path)
    if as_of <= datetime.fromisoformat(card["data_until"]):
        if stored is None:
            raise UserError(
                f"Version {champion.version} was trained on data up to {card['data_until'][:16]} "
                f"UTC. Choose a later time than {as_of:%Y-%m-%dT%H:%M}."
            )
        return dict(stored)  # this decision led to the current champion
    if stored and stored["champion"] == champion.version and not stored["problems"]:
        return dict(stored)
    policy = dict(settings.params()["monitoring"]["policy"])
    if every_days is not None:
        policy["every_days"] = every_days
    result = measure_window(settings, as_of, release, folder, card, policy)
    durable_files.write_json(path, result)
    return result


def measure_window(
    settings: Settings, as_of: datetime, release: document.Release, folder: Path,
    card: dict[str, Any], policy: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Run the checks on the champion, whose files are in `folder`, decide, and write the pages."""
    params, champion, challenger = settings.params(), release.champion.version, release.challenger
    # An experiment runs for weeks. Versions trained meanwhile are registered and wait.
    under_way = challenger is not None and challenger.stage != "experiment"
    retraining_decision.check_policy(policy)
    reference = pd.read_parquet(folder / "reference.parquet")
    predictions = production_data.read_labelled_predictions(settings, as_of, params, champion)
    live, problems = _live_metrics(predictions, params, as_of)
    slices, slice_problems = _slices(predictions, params, as_of)
    drift, drift_problems = _drift(settings, reference, predictions, params, as_of)
    problems += [*slice_problems, *drift_problems]
    data_until = datetime.fromisoformat(card["data_until"])
    decision = retraining_decision.decide_retraining(
        MonitoringEvidence(
            champion=champion, data_until=data_until,
            n_labelled=int(predictions["label"].notna().sum()),
            live=live, expected=card["evaluation"], drift=drift, problems=problems,
            last_training=production_data.last_training_time(settings, as_of),
            n_new=production_data.count_new_labels(settings, data_until, as_of),
            under_way=challenger.model.version if challenger and under_way else None,
            slices=slices, days=performance.days_watched(predictions, as_of),
        ),
        policy, as_of,
    )  # fmt: skip
    result = {
        **decision.as_dict(), "champion": champion,
        "n_predictions": len(predictions), "coverage": performance.label_coverage(predictions),
        "delay_hours": performance.median_label_delay_hours(predictions), "live": live,
        "drift": drift, "expected": card["evaluation"], "slices": slices or [],
        "problems": [asdict(each) for each in problems],
        "label_coverage": performance.due_label_coverage(predictions, params, as_of),
        "estimated": performance.estimated_cost(predictions, params["costs"], as_of),
    }  # fmt: skip
    if settings.pages:
        _write_page(settings, result, predictions, reference, params, as_of)
    return result


def latest_result(settings: Settings) -> dict[str, Any] | None:
    """Return the newest stored result; None if there is none."""
    stored = sorted((settings.var / "monitoring").glob("*.json"))
    return json.loads(stored[-1].read_text()) if stored else None


def _live_metrics(
    predictions: pd.DataFrame, params: dict[str, Any], as_of: datetime
) -> tuple[dict[str, float] | None, list[MonitoringFinding]]:
    """Return the metrics, None if there are none, and the problems with them."""
    missing = performance.describe_missing_labels(predictions, params, as_of)
    problems = [MonitoringFinding("coverage_low", missing)] if missing else []
    try:
        return performance.live_metrics(predictions, params["costs"], params["seed"]), problems
    except ValueError as error:
        failed = MonitoringFinding("performance_unmeasured", f"performance ({error})")
        return None, [*problems, failed]


def _slices(
    predictions: pd.DataFrame, params: dict[str, Any], as_of: datetime
) -> tuple[list[dict[str, Any]] | None, list[MonitoringFinding]]:
    features = production_data.logged_features(predictions)
    try:
        measured = slice_measures.measure_slices(predictions, features, params, as_of)
        return measured, slice_measures.slice_problems(features)
    except Exception as error:  # any error: a check that could not run has failed
        logger.exception("The check of slices stopped")
        text = f"slices ({type(error).__name__}: {error})"
        return None, [MonitoringFinding("slices_unmeasured", text)]


def _drift(
    settings: Settings, reference: pd.DataFrame, predictions: pd.DataFrame,
    params: dict[str, Any], as_of: datetime,
) -> tuple[dict[str, Any] | None, list[MonitoringFinding]]:  # fmt: skip
    from monitoring.measures import drift
    from monitoring.pages import drift_report
    from usecase.columns import CATEGORIES, FEATURES

    features = production_data.logged_features(predictions)
    current = pd.concat([features, predictions[["probability", "label"]]], axis=1)
    try:
        measured, snapshot = drift.measure_drift(
            reference, current, features=FEATURES, categories=CATEGORIES,
            limits=params["monitoring"]["drift"], seed=params["seed"], with_snapshot=settings.pages,
        )  # fmt: skip
    except Exception as error:  # any error: a check that could not run has failed
        if not isinstance(error, LoopError):
            logger.exception("The drift check stopped")
        return None, [MonitoringFinding("drift_unmeasured", f"drift ({error})")]
    if settings.pages:
        drift_report.publish_drift_report(
            snapshot, settings.var / "reports" / f"drift-{as_of:%Y-%m-%d}.html",
            settings.var / "evidently", name=f"as of {as_of:%Y-%m-%d %H:%M}", as_of=as_of,
        )  # fmt: skip
    return asdict(measured), drift.drift_problems(measured)


def _write_page(
    settings: Settings, result: dict[str, Any], predictions: pd.DataFrame,
    reference: pd.DataFrame, params: dict[str, Any], as_of: datetime,
) -> None:  # fmt: skip
    from monitoring.pages import monitoring_page

    days = performance.daily_performance(predictions, params["costs"])
    path = settings.var / "reports" / f"monitoring-{as_of:%Y-%m-%d}.html"
    monitoring_page.write_monitoring_page(path, result, days, predictions, reference)
