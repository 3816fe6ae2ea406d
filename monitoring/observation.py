"""One observation of the champion in production: every measure, the problems and the decision.

Monitoring and the fast replay both call `observe_production`, each with data of its own.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from contract import UseCase
from monitoring.measures import drift, performance, slices
from monitoring.retraining_decision import check_policy, decide_retraining
from monitoring.retraining_triggers import MonitoringEvidence, MonitoringFinding
from settings import LoopError

logger = logging.getLogger(__name__)

EXPECTED_ERRORS = (LoopError, ValueError)  # their message says enough


def observe_production(
    use_case: UseCase, known: MonitoringEvidence, joined: pd.DataFrame, features: pd.DataFrame,
    reference: pd.DataFrame, params: dict[str, Any], policy: Mapping[str, Any], as_of: datetime,
    publish: Callable[[list[pd.DataFrame]], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure the window as of `as_of` and decide by `policy`; return the result as JSON types.

    `known` holds the facts on the champion. `joined` are its predictions in the window with labels
    (`performance.join_labels`), `features` the model's columns in the same rows. `reference` has
    features, `probability` and `label` of the evaluation. As long as no label is due, nothing that
    needs labels is measured, and that is no problem. `publish`, if given, reports on the
    rows that the drift was measured on. A measure that fails is None, and a problem. Raises
    `UserError` for an incomplete policy, before it measures.
    """
    check_policy(policy)
    problems: list[MonitoringFinding] = []

    def note(code: str, text: str | None) -> None:
        if text:
            problems.append(MonitoringFinding(code, text))

    def measure(name: str, function: Callable[..., Any], *args: Any, **how: Any) -> Any:
        try:
            return function(*args, **how)
        except Exception as error:  # any error: a check that could not run has failed
            text = str(error)
            if not isinstance(error, EXPECTED_ERRORS):
                logger.exception("The measurement of %s stopped", name)
                text = f"{type(error).__name__}: {error}"
            note(f"{name}_unmeasured", f"{name.replace('_', ' ')} ({text})")

    note("coverage_low", performance.describe_missing_labels(joined, params, as_of))
    live, sliced = None, None
    if (
        performance.due_label_coverage(joined, params, as_of) is not None
        or joined["label"].notna().any()
    ):
        live = measure(
            "performance", performance.live_metrics, joined, params["costs"], params["seed"]
        )
        sliced = measure("slices", slices.measure_slices, use_case, joined, features, params, as_of)
    if sliced is not None:
        note("slices_unmeasured", slices.describe_empty_slices(use_case, features))
    drifted = measure(
        "drift", drift.measure_drift, reference,
        features.assign(probability=joined["probability"], label=joined["label"]),
        features=use_case.features, categories=use_case.categories,
        limits=params["monitoring"]["drift"], seed=params["seed"],
    )  # fmt: skip
    if drifted is not None:
        note("feature_unmeasured", drift.describe_unmeasured(drifted[0]))
        if publish:
            measure("drift_report", publish, drifted[1])
    evidence = replace(
        known, live=live, slices=sliced, drift=drifted and drifted[0], problems=problems,
        n_labelled=int(joined["label"].notna().sum()),
        days=float((as_of - joined["decision_time"].min()) / timedelta(days=1)),
    )  # fmt: skip
    return {
        **decide_retraining(evidence, policy, as_of), "champion": known.champion,
        "n_predictions": len(joined), "coverage": performance.label_coverage(joined),
        "delay_hours": performance.median_label_delay_hours(joined), "live": live,
        "uncounted": dict(known.uncounted), "uncounted_share": known.uncounted_share,
        "drift": evidence.drift, "expected": known.expected, "slices": sliced or [],
        "problems": [asdict(each) for each in problems],
        "label_coverage": performance.due_label_coverage(joined, params, as_of),
        "estimated": performance.estimated_cost(joined, params["costs"], as_of),
    }  # fmt: skip
