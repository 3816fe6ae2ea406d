"""The parameters of a turn and of a month on a few of the shipped days, for tests of whole runs."""

from typing import Any

import yaml

from parameters import complete_parameters
from tests.use_case import PARAMS_FILE, USE_CASE

FIRST, END = "2013-01-19", "2013-02-18"  # of the month; it ends at the start of the last day
POLICY = "often"


def shipped_params() -> dict[str, Any]:
    """Return the shipped parameters, with all defaults."""
    return complete_parameters(USE_CASE, yaml.safe_load(PARAMS_FILE.read_text()))


def slice_params(shipped: str = "") -> dict[str, Any]:
    """Return the shipped parameters with fewer days and draws, and limits for so few days.

    `shipped` is the text of the parameters of another version.
    """
    params: dict[str, Any] = yaml.safe_load(shipped) if shipped else shipped_params()
    params["as_of"] = "2013-01-19T00:00:00Z"
    params["turn"] |= {"traffic_days": 2, "alone_days": 0.25}
    params["training"] |= {"holdout_days": 5, "folds": 2}
    params["training"]["search"] |= {"n_iter": 1, "max_iter": [20]}
    # A slice has too few days for the shipped limits, and weeks differ more than months.
    params["gates"] |= {
        "min_train": 5000, "min_holdout": 300, "min_slice": 50, "max_calibration_gap": 0.25,
        "margin_cost": 200.0, "margin_log_loss": 0.2, "min_saving": -0.5,
        "max_slice_ratio": 3.0, "storm_raises": 0.0, "calm_lowers": -0.1, "min_days": 1,
        "margin_slice_cost": 2000.0, "margin_slice_proof": 2000.0, "min_slice_compared": 200,
        "max_slice_calibration_gap": 0.5, "max_error_excess": 0.5,
        "max_column_auc": 0.95, "max_value_rate": 1.0, "early_calm": 1.0, "late_storm": 0.0,
    }  # fmt: skip
    params["gates"]["sources"]["recomputed_moments"] = 2
    # Two days hold too few answers for a decision: one day in the shadow, one in the canary.
    params["turn"]["rollout_days"] = 4
    params["rollout"]["shadow"] |= {
        "days": 1, "min_labels": 100, "day_labels": 100, "margin_cost": 400.0, "min_coverage": 0.5,
        "label_hours": 0,
    }  # fmt: skip
    params["rollout"]["canary"] |= {"min_requests": 10, "percent": 30}
    params["rollout"]["harm"]["max_moved"] = 0.5
    # Two turns may share the cores with other tests: another test checks the speed.
    params["gates"]["artefact"] |= {"max_score_distance": 0.3, "max_latency_ms": 1000.0}
    params["monitoring"]["min_coverage"] = 0.5  # half of the labels of two days are not known yet
    params["monitoring"]["policy"] |= {"every_days": 2, "cool_down_days": 1}
    params["monitoring"]["policy"]["min_labelled"] = 100
    return params


def month_params() -> dict[str, Any]:
    """Return the parameters of a month with a training by schedule and one by calibration.

    Both are released. The month ends with an alert for certain: its cost limit is half of the
    expected cost, which no model reaches.
    """
    params = slice_params()
    often = {
        "triggers": ["schedule", "calibration"], "every_days": 12, "cool_down_days": 8,
        "max_calibration_gap": 0.05, "max_cost_ratio": 0.5,
    }  # fmt: skip
    params["replay"] |= {
        "until": f"{END}T00:00:00Z", "default": POLICY,
        "policies": {"never": {"triggers": []}, POLICY: often},
    }  # fmt: skip
    params["monitoring"]["policy"] |= often  # by which a stack lives
    return params
