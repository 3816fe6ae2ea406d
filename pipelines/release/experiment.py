"""Two versions side by side until a planned end: begun, looked at, concluded, on the record.

The plan is the evidence of the entry that begins the experiment, and is read back from there: the
analysis at the end is the one that was written down before anybody had seen a label.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from hashlib import sha256

import pandas as pd

from monitoring.measures import experiment as analysis
from monitoring.measures import performance
from monitoring.measures.experiment import ExperimentPlan, ExperimentResult
from pipelines.registry import versions
from pipelines.release import promotion, rollout_controller
from pipelines.release.audit import entry_store
from pipelines.release.audit.recorder import RecordedRelease
from pipelines.training import mlflow_tracking
from serving.prediction_log import reader
from serving.release.document import Challenger
from settings import LoopError, Settings, UserError

PLANNING_DAYS = 28  # days of the log, to learn how far arms of one model lie apart


def start_experiment(
    settings: Settings, version: str, *, percent: float, metric: str, effect: float, days: int,
    as_of: datetime, by: str, why: str,
) -> ExperimentPlan:  # fmt: skip
    """Gives `percent` of the keys to `version` for `days`; the plan, with its power.

    Raises `UserError` for a plan that can't be, or a log too thin to plan on; as
    `release.challenge` does, too.
    """
    params = settings.params()
    policy = params["rollout"]["experiment"]
    _require(metric, effect, days, percent)
    stands = rollout_controller.recover_and_read_release(settings)
    champion = stands.document.champion
    if champion is None:
        raise UserError(f"There is no champion to compare with: `mlops promote {version}`.")
    rows = _logged(settings, champion.version, as_of)
    try:
        spread = analysis.same_model_spread(
            rows, metric, percent, params["costs"], min_labels=policy["min_labels"]
        )
    except ValueError as error:
        raise UserError(
            f"No experiment can be planned on what version {champion.version} answered before "
            f"{as_of:%Y-%m-%d}: {error}. Choose another percentage, or wait for labels."
        ) from error
    plan = ExperimentPlan(
        version=version, metric=metric, percent=float(percent), effect=float(effect), days=days,
        alpha=policy["alpha"], min_labels=policy["min_labels"], spread=spread,
        days_needed=analysis.days_for_power(effect, spread, policy["alpha"]),
        planned_at=as_of.isoformat(),
    )  # fmt: skip
    name = f"{metric} of {version} against {champion.version} from {as_of:%Y-%m-%d}"
    promotion.challenge(
        settings, version, "experiment", plan.percent, name=name, why=why, by=by,
        evidence={"plan": plan.as_dict()}, generation=stands.document.generation,
    )  # fmt: skip
    return plan


def experiment_status(
    settings: Settings, as_of: datetime
) -> tuple[ExperimentPlan, ExperimentResult]:
    """What the experiment at hand shows as of `as_of`. Raises `UserError` if there is none."""
    return _status(settings, rollout_controller.recover_and_read_release(settings), as_of)


def stop_experiment(
    settings: Settings, as_of: datetime, *, by: str, why: str = ""
) -> tuple[ExperimentPlan, ExperimentResult]:
    """Ends it: the champion alone again, and what was found on the record, early or not."""
    stands = rollout_controller.recover_and_read_release(settings)
    plan, result = _status(settings, stands, as_of)
    ended = f"the experiment ended: {result.told}{f' ({why})' if why else ''}"
    promotion.withdraw(
        settings, why=ended[:1000], by=by, bar=False, generation=stands.document.generation,
        evidence={
            "plan": plan.as_dict(), "verdict": result.verdict, "labels": list(result.labels),
            "days": result.days, **result.interval.as_dict(), "as_of": as_of.isoformat(),
        },
    )  # fmt: skip
    return plan, result


def _status(
    settings: Settings, stands: RecordedRelease, as_of: datetime
) -> tuple[ExperimentPlan, ExperimentResult]:
    challenger = _running(stands)
    plan = read_experiment_plan(settings, stands, challenger)
    params = settings.params()
    rows = rollout_controller.read_stage_requests(
        settings, stands, challenger, params, as_of, live=False, days=plan.days + PLANNING_DAYS
    )
    # A case is of the arm that its key was given, whoever answered when the challenger failed.
    joined = _joined(settings, rows, as_of)
    hours = params["rollout"]["shadow"]["label_hours"]
    return plan, analysis.analyse_experiment(
        joined, plan, params["costs"], as_of, label_hours=hours
    )


def read_experiment_plan(
    settings: Settings, stands: RecordedRelease, challenger: Challenger
) -> ExperimentPlan:
    """The plan as it was recorded. Raises `LoopError` if that is gone, or was changed since."""
    began = rollout_controller.stage_start_generation(stands, challenger)
    entry = next(e for e in stands.trail.entries if e.after["generation"] == began)
    with versions.reraise_mlflow_errors(settings):
        client = mlflow_tracking.mlflow_client(settings)
        stored = next(
            each for each in entry_store.read_entries(settings, client)
            if each.tags.get("digest") == entry.digest
        )  # fmt: skip
        text = entry_store.read_evidence(client, stored.run_id)
    if sha256(text.encode()).hexdigest() != entry.evidence:
        raise LoopError(
            f"The plan of the experiment (entry {entry.seq}) was changed after its start: see "
            "`mlops history --verify`. `mlops withdraw` ends it without a verdict."
        )
    return ExperimentPlan(**json.loads(text)["plan"])


def _running(stands: RecordedRelease) -> Challenger:
    challenger = stands.document.challenger
    if challenger is None or challenger.stage != "experiment":
        raise UserError("No experiment is under way: `mlops experiment start --help`.")
    return challenger


def _logged(settings: Settings, champion: str, as_of: datetime) -> pd.DataFrame:
    since = as_of - timedelta(days=PLANNING_DAYS)
    log = reader.read_predictions(settings.predictions, since=since, until=as_of)
    return _joined(settings, log[log["model_version"] == champion], as_of)


def _joined(settings: Settings, rows: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    first = rows["decision_time"].min() if len(rows) else as_of
    return performance.join_labels(
        rows, rollout_controller.read_known_labels(settings, first, as_of), as_of
    )


def _require(metric: str, effect: float, days: int, percent: float) -> None:
    if metric not in analysis.EXPERIMENT_METRICS:
        raise UserError(f"The metric is {', '.join(analysis.EXPERIMENT_METRICS)}; not {metric!r}.")
    if not effect > 0:
        raise UserError(f"The least effect that matters must be above 0, not {effect:g}.")
    if days < 2:
        raise UserError(f"{days} days give no interval: plan 2 at least.")
    if not 0 < percent < 100:
        raise UserError(f"{percent:g} % of the keys leave one of the arms empty.")


def describe_plan(plan: ExperimentPlan) -> str:
    """What the plan can show, before anybody looks."""
    enough = plan.days >= plan.days_needed
    advice = "" if enough else f" Plan {plan.days_needed} days, or a larger effect."
    return (
        f"Version {plan.version} answers {plan.percent:g} % of the keys for {plan.days} days. A "
        f"true effect of {plan.effect:g} per 1,000 in {plan.metric} needs {plan.days_needed} days "
        f"to be seen with a power of 80 % (a day's difference between arms of one model spreads by "
        f"{plan.spread:.0f}): {'long enough' if enough else 'too short'}.{advice}"
    )
