"""Experiments: two versions side by side until a planned end, with a preregistered analysis.

The plan is the evidence of the audit entry that starts the experiment, and is read back from it.
So the analysis at the end is the one that was recorded before any label was known.
"""

import json
from dataclasses import asdict
from datetime import datetime, timedelta
from hashlib import sha256

import pandas as pd

from features.validated_cases import read_labels
from monitoring.measures import experiment as analysis
from monitoring.measures import performance
from monitoring.measures.experiment import ExperimentPlan, ExperimentResult
from pipelines.registry import versions
from pipelines.release import promotion, rollout_controller, rollout_evidence
from pipelines.release.audit import entry_store
from pipelines.release.audit.recorder import RecordedRelease
from serving.prediction_log.decisions import read_decisions
from serving.release.document import Challenger
from settings import LoopError, Settings, UserError

PLANNING_DAYS = 28  # days of the log that measure the spread between two arms of one model


def start_experiment(
    settings: Settings, version: str, *, percent: float, metric: str, effect: float, days: int,
    as_of: datetime, by: str, why: str,
) -> ExperimentPlan:  # fmt: skip
    """Give `percent` of the keys to `version` for `days`; return the plan with its power.

    `effect` is per 1,000 cases. Raises `UserError` for an impossible plan or too small a log, and
    the errors of `promotion.challenge`.
    """
    params = settings.params()
    policy = params["rollout"]["experiment"]
    _require_valid_plan(metric, effect, days, percent)
    release = rollout_controller.recover_and_read_release(settings)
    champion = release.document.champion
    if champion is None:
        raise UserError(
            f"There is no champion to compare with. Run `mlops promote {version}` instead."
        )
    since = as_of - timedelta(days=PLANNING_DAYS)
    log = read_decisions(settings, since=since, until=as_of)
    rows = _join_labels(settings, log[log["model_version"] == champion.version], as_of)
    try:
        spread = analysis.same_model_spread(
            rows, metric, percent, params["costs"], min_labels=policy["min_labels"]
        )
    except ValueError as error:
        raise UserError(
            f"An experiment can't be planned from the log of version {champion.version} before "
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
        evidence={"plan": asdict(plan)}, generation=release.document.generation,
    )  # fmt: skip
    return plan


def experiment_status(
    settings: Settings, as_of: datetime
) -> tuple[ExperimentPlan, ExperimentResult]:
    """Return the plan and the result as of `as_of`. Raises `UserError` without an experiment."""
    return _status(settings, rollout_controller.recover_and_read_release(settings), as_of)


def stop_experiment(
    settings: Settings, as_of: datetime, *, by: str, why: str = ""
) -> tuple[ExperimentPlan, ExperimentResult]:
    """End the experiment, early or not: remove the challenger and record the result."""
    release = rollout_controller.recover_and_read_release(settings)
    plan, result = _status(settings, release, as_of)
    ended = f"the experiment ended: {result.told}{f' ({why})' if why else ''}"
    promotion.withdraw(
        settings, why=ended[:1000], by=by, bar=False, generation=release.document.generation,
        evidence={
            "plan": asdict(plan), "verdict": result.verdict, "labels": list(result.labels),
            "days": result.days, **asdict(result.interval), "as_of": as_of.isoformat(),
        },
    )  # fmt: skip
    return plan, result


def _status(
    settings: Settings, release: RecordedRelease, as_of: datetime
) -> tuple[ExperimentPlan, ExperimentResult]:
    challenger = release.document.challenger
    if challenger is None or challenger.stage != "experiment":
        raise UserError("No experiment is running. See `mlops experiment start --help`.")
    plan = read_experiment_plan(settings, release, challenger)
    params = settings.params()
    rows = rollout_evidence.read_stage_requests(
        settings, release, challenger, params, as_of, live=False, days=plan.days + PLANNING_DAYS
    )
    # Intention to treat: a case counts for its key's arm, also if the champion answered instead.
    joined = _join_labels(settings, rows, as_of)
    hours = params["rollout"]["shadow"]["label_hours"]
    return plan, analysis.analyse_experiment(
        joined, plan, params["costs"], as_of, label_hours=hours
    )


def read_experiment_plan(
    settings: Settings, release: RecordedRelease, challenger: Challenger
) -> ExperimentPlan:
    """Return the recorded plan. Raises `LoopError` if it is missing or was changed."""
    started = rollout_evidence.stage_start_generation(release, challenger)
    entry = next(e for e in release.trail.entries if e.after["generation"] == started)
    with versions.reraise_mlflow_errors(settings) as client:
        stored = next(
            each for each in entry_store.read_entries(settings, client)
            if each.tags.get("digest") == entry.digest
        )  # fmt: skip
        text = entry_store.read_evidence(stored.run_id)
    if sha256(text.encode()).hexdigest() != entry.evidence:
        raise LoopError(
            f"The plan of the experiment (audit entry {entry.seq}) was changed after the start. "
            "See `mlops history --verify`. Run `mlops withdraw` to end it without a verdict."
        )
    return ExperimentPlan(**json.loads(text)["plan"])


def _join_labels(settings: Settings, rows: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    first = rows["decision_time"].min() if len(rows) else as_of
    labels = read_labels(settings, first.date(), as_of.date())
    return performance.join_labels(rows, labels, as_of, horizon=settings.use_case.horizon)


def _require_valid_plan(metric: str, effect: float, days: int, percent: float) -> None:
    if metric not in analysis.EXPERIMENT_METRICS:
        allowed = " or ".join(analysis.EXPERIMENT_METRICS)
        raise UserError(f"The metric must be {allowed}, not {metric!r}.")
    if not effect > 0:
        raise UserError(f"The smallest effect that matters must be above 0, not {effect:g}.")
    if days < 2:
        raise UserError(f"{days} days give no interval. Plan at least 2.")
    if not 0 < percent < 100:
        raise UserError(
            f"The percentage must be between 0 and 100, not {percent:g}: both arms need keys."
        )


def describe_plan(plan: ExperimentPlan) -> str:
    """Return the plan's power in words, before any result is known."""
    long_enough = plan.days >= plan.days_needed
    verdict = "long enough" if long_enough else "too short"
    advice = "" if long_enough else f" Plan {plan.days_needed} days, or a larger effect."
    return (
        f"Version {plan.version} answers {plan.percent:g} % of the keys for {plan.days} days. To "
        f"detect an effect of {plan.effect:g} per 1,000 in {plan.metric} with a power of 80 %, "
        f"{plan.days_needed} days are needed (the daily difference between two arms of one model "
        f"has a standard deviation of {plan.spread:.0f}): {verdict}.{advice}"
    )
