"""One observation of the champion in production: every measure, the problems and the decision.

Monitoring and the fast replay both call `observe_production`. They only read from other places.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from monitoring.evidence import MonitoringEvidence, MonitoringFinding
from monitoring.measures import drift, performance, slices
from monitoring.retraining_decision import decide_retraining
from settings import LoopError
from usecase.columns import CATEGORIES, FEATURES

logger = logging.getLogger(__name__)

EXPECTED_ERRORS = (LoopError, ValueError)  # their message says enough
MEASURE_ERRORS = (*EXPECTED_ERRORS, ArithmeticError, AttributeError, LookupError, TypeError)
PublishSnapshot = Callable[[Any], None]


@dataclass(frozen=True)
class ProductionWindow:
    """The champion's predictions in the window, and the facts that the decision needs.

    `predictions` is the result of `performance.join_labels`; `features` holds the model's columns,
    in the same rows. `reference` has features, `probability` and `label` of the evaluation.
    """

    champion: str
    data_until: datetime
    expected: Mapping[str, Any]
    reference: pd.DataFrame
    predictions: pd.DataFrame
    features: pd.DataFrame
    last_training: datetime | None
    n_new: int
    under_way: str | None


def observe_production(
    window: ProductionWindow, params: dict[str, Any], policy: Mapping[str, Any], as_of: datetime,
    publish: PublishSnapshot | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure the window as of `as_of` and decide by `policy`; return the result as JSON types.

    A measure that fails on the data is None, and a problem. `publish`, if given, gets Evidently's
    snapshot. Raises `UserError` for an incomplete policy.
    """
    joined, problems = window.predictions, []
    if missing := performance.describe_missing_labels(joined, params, as_of):
        problems.append(MonitoringFinding("coverage_low", missing))

    def measure(name: str, function: Callable[..., Any], *args: Any, **how: Any) -> Any:
        try:
            return function(*args, **how)
        except MEASURE_ERRORS as error:
            text = str(error)
            if not isinstance(error, EXPECTED_ERRORS):
                logger.exception("The measurement of %s stopped", name)
                text = f"{type(error).__name__}: {error}"
            problems.append(MonitoringFinding(f"{name}_unmeasured", f"{name} ({text})"))

    live = measure("performance", performance.live_metrics, joined, params["costs"], params["seed"])
    sliced = measure("slices", slices.measure_slices, joined, window.features, params, as_of)
    if sliced is not None:
        problems += slices.slice_problems(window.features)
    current = window.features.assign(probability=joined["probability"], label=joined["label"])
    drifted = measure(
        "drift", drift.measure_drift, window.reference, current, features=FEATURES,
        categories=CATEGORIES, limits=params["monitoring"]["drift"], seed=params["seed"],
        with_snapshot=publish is not None,
    )  # fmt: skip
    moved = None
    if drifted is not None:
        moved, snapshot = asdict(drifted[0]), drifted[1]
        problems += drift.drift_problems(drifted[0])
        if publish:
            publish(snapshot)
    evidence = MonitoringEvidence(
        champion=window.champion, data_until=window.data_until,
        n_labelled=int(joined["label"].notna().sum()), live=live, expected=window.expected,
        drift=moved, problems=problems, last_training=window.last_training, n_new=window.n_new,
        under_way=window.under_way, days=performance.days_watched(joined, as_of), slices=sliced,
    )  # fmt: skip
    return {
        **decide_retraining(evidence, policy, as_of).as_dict(), "champion": window.champion,
        "n_predictions": len(joined), "coverage": performance.label_coverage(joined),
        "delay_hours": performance.median_label_delay_hours(joined), "live": live, "drift": moved,
        "expected": window.expected, "slices": sliced or [],
        "problems": [asdict(each) for each in problems],
        "label_coverage": performance.due_label_coverage(joined, params, as_of),
        "estimated": performance.estimated_cost(joined, params["costs"], as_of),
    }  # fmt: skip
