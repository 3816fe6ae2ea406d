"""Measure the champion in production as of a time, decide on a retraining, and store the result."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from features import durable_files
from features.validated_cases import read_labels
from monitoring import observation
from monitoring.measures import performance
from pipelines.retraining import production_data
from serving.release import document
from settings import LoopError, Settings, UserError


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
    """Observe the champion, whose files are in `folder`, and write the pages."""
    params, champion, challenger = settings.params(), release.champion.version, release.challenger
    # An experiment runs for weeks. Versions trained meanwhile are registered and wait.
    under_way = challenger is not None and challenger.stage != "experiment"
    data_until = datetime.fromisoformat(card["data_until"])
    predictions = production_data.read_labelled_predictions(settings, as_of, params, champion)
    labels = read_labels(settings.data, data_until.date(), as_of.date())
    window = observation.ProductionWindow(
        champion=champion, data_until=data_until, expected=card["evaluation"],
        reference=pd.read_parquet(folder / "reference.parquet"), predictions=predictions,
        features=production_data.logged_features(predictions),
        last_training=production_data.last_training_time(settings, as_of),
        n_new=performance.count_new_labels(labels, data_until, as_of),
        under_way=challenger.model.version if challenger and under_way else None,
    )  # fmt: skip
    if not settings.pages:
        return observation.observe_production(window, params, policy, as_of)
    from monitoring.pages import drift_report, monitoring_page

    reports = settings.var / "reports"
    result = observation.observe_production(
        window, params, policy, as_of,
        lambda snapshot: drift_report.publish_drift_report(
            snapshot, reports / f"drift-{as_of:%Y-%m-%d}.html", settings.var / "evidently",
            name=f"as of {as_of:%Y-%m-%d %H:%M}", as_of=as_of,
        ),
    )  # fmt: skip
    monitoring_page.write_monitoring_page(
        reports / f"monitoring-{as_of:%Y-%m-%d}.html", result,
        performance.daily_performance(predictions, params["costs"]), predictions, window.reference,
    )  # fmt: skip
    return result


def latest_result(settings: Settings) -> dict[str, Any] | None:
    """Return the newest stored result; None if there is none."""
    stored = sorted((settings.var / "monitoring").glob("*.json"))
    return json.loads(stored[-1].read_text()) if stored else None
