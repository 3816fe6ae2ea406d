"""Measure the champion in production as of a time, decide on a retraining, and store the result."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from features import durable_files
from features.validated_cases import read_labels
from monitoring import observation
from monitoring.measures import performance
from monitoring.retraining_triggers import MonitoringEvidence
from pipelines.training import training_outcome
from serving.models import served_form
from serving.prediction_log import decisions, reader
from serving.release import document
from settings import LoopError, Settings, UserError


def monitor_champion(
    settings: Settings, as_of: datetime, every_days: float | None = None
) -> dict[str, Any]:
    """Measure the predictions of the window before `as_of`, and decide whether to retrain.

    The policy is `monitoring.policy` of the parameters; `every_days`, if given, replaces its value.

    Write the result to `monitoring/` of the use case's state. Unless the settings turn pages off,
    write two pages to `reports/` and a run to Evidently's workspace. A second call with the same
    time and champion returns the stored result, unless a check could not run.

    Raise `LoopError` if nothing is served, or if the champion has no predictions in the window.
    Raise `UserError` if the champion was trained on data up to `as_of` or later.
    """
    release = document.read_release(settings)
    if release is None:
        raise LoopError("There is no model to monitor. Run `mlops run`.")
    champion = release.champion
    folder = (settings.release_file.parent / champion.path).parent
    card = served_form.read_card(folder)
    path = settings.state / "monitoring" / f"{as_of:%Y%m%dT%H%M}.json"
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
    policy = settings.params()["monitoring"]["policy"]
    if every_days is not None:
        policy = policy | {"every_days": every_days}
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
    under_way = challenger if challenger and challenger.stage != "experiment" else None
    data_until = datetime.fromisoformat(card["data_until"])
    since = as_of - timedelta(days=params["monitoring"]["window_days"])
    log = reader.read_predictions(settings.use_case, settings.predictions, since=since, until=as_of)
    counted, uncounted = decisions.split_decisions(log, params)
    predictions = label_decisions(settings, counted, champion, since, as_of)
    labels = read_labels(settings, data_until.date(), as_of.date())
    trainings = [
        datetime.fromisoformat(each["as_of"]) for each in training_outcome.list_outcomes(settings)
    ]
    known = MonitoringEvidence(
        champion, data_until, card["evaluation"],
        last_training=max((time for time in trainings if time < as_of), default=None),
        n_new=performance.count_new_labels(labels, data_until, as_of),
        under_way=under_way.model.version if under_way else None,
        uncounted=uncounted, uncounted_share=1 - len(counted) / len(log),
    )  # fmt: skip
    reference = pd.read_parquet(folder / "reference.parquet")
    reports = settings.state / "reports"

    def publish(samples: list[pd.DataFrame]) -> None:
        from monitoring.pages import drift_report

        drift_report.publish_drift_report(
            samples, reports / f"drift-{as_of:%Y-%m-%d}.html", settings.state / "evidently",
            categories=settings.use_case.categories, limits=params["monitoring"]["drift"],
            name=f"as of {as_of:%Y-%m-%d %H:%M}", as_of=as_of,
        )  # fmt: skip

    result = observation.observe_production(
        settings.use_case, known, predictions, logged_features(settings, predictions), reference,
        params, policy, as_of, publish if settings.pages else None,
    )  # fmt: skip
    if settings.pages:
        from monitoring.pages import monitoring_page

        days = performance.daily_performance(predictions, params["costs"])
        page = reports / f"monitoring-{as_of:%Y-%m-%d}.html"
        monitoring_page.write_monitoring_page(page, result, days, predictions, reference)
    return result


def latest_result(settings: Settings) -> dict[str, Any] | None:
    """Return the newest stored result; None if there is none."""
    stored = sorted((settings.state / "monitoring").glob("*.json"))
    return durable_files.require_json(stored[-1]) if stored else None


def label_decisions(
    settings: Settings, log: pd.DataFrame, champion: str, since: datetime, as_of: datetime
) -> pd.DataFrame:
    """Return the champion's decisions of the window, with the labels known by `as_of`.

    `log` holds the decisions from `since` to `as_of`, by decision time, because a replay logs at
    other times than it decides. Raise `LoopError` if there are no decisions or no validated labels.
    """
    log = log[log["model_version"] == champion]
    if log.empty:
        raise LoopError(
            f"No prediction by version {champion} from {since:%Y-%m-%d} to {as_of:%Y-%m-%d} is in "
            "the log as a decision on time. Send requests to the service (`mlops serve`), or run "
            "`mlops run`."
        )
    truth = read_labels(settings, since.date(), as_of.date())
    if truth.empty:
        raise LoopError(
            f"There are no validated labels since {since:%Y-%m-%d}. Run `mlops ingest`."
        )
    reported = reader.reported_labels(settings.predictions)  # sent to the service
    if len(reported):
        truth = pd.concat([truth, reported], ignore_index=True)
    return performance.join_labels(log, truth, as_of, horizon=settings.use_case.horizon)


def logged_features(settings: Settings, predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the logged features of each prediction under the model's names; null if not logged."""
    names = {f"features.{name}": name for name in settings.use_case.features}
    return predictions[list(names)].rename(columns=names)
