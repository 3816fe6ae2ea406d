"""Parameters: a use case's own, over the defaults, with what follows from its two facts about time.

`usecases/defaults.yaml` documents each. Errors are `ValueError`; `settings.py` names the file.
"""

import copy
import math
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from contract import FOLDER, UseCase

REQUIRED = ("as_of", "first_day", "costs.miss", "gates.max_auc", "gates.max_column_auc")
# Sections to which a use case may add names: its own limits, spaces and policies.
OPEN_SECTIONS = ("training.search", "gates", "replay.policies")
# Bounds of parameters that would be obeyed silently although they make no sense.
BOUNDS = {
    "costs.threshold": (0, 1), "costs.false_alarm": (0, math.inf), "costs.miss": (0, math.inf),
    "training.holdout_days": (1, 3650), "validation.max_quarantined": (0, math.inf),
    "rollout.shadow.alpha": (0, 1), "rollout.harm.alpha": (0, 1),
    "rollout.canary.percent": (0, 100), "monitoring.window_days": (1, 3650),
    "monitoring.min_coverage": (0, 1), "serving.price_per_cpu_hour": (0, math.inf),
    "release.approval_days": (0, math.inf),
}  # fmt: skip
DAY, HOUR, WEEK = timedelta(days=1), timedelta(hours=1), 7.0


class _UniqueKeys(yaml.CSafeLoader):
    """YAML in which no mapping has a key twice; a merge gone wrong leaves such a file."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        if repeated := [name for name in names if names.count(name) > 1]:
            problem = f"the key {repeated[0]!r} is there twice"
            raise yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def read_parameters(path: Path, use_case: UseCase) -> dict[str, Any]:
    """Return `complete_parameters` of the file `path`. Raise `FileNotFoundError` without one."""
    try:
        own = yaml.load(path.read_text(), _UniqueKeys)  # noqa: S506 -- a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(f"not valid YAML: {error}. Correct it.") from error
    if not isinstance(own, dict):
        raise ValueError(f"must hold a mapping, not {type(own).__name__}.")
    return complete_parameters(use_case, own)


def complete_parameters(use_case: UseCase, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults with the use case's `own` parameters, and what follows from them.

    Raise `ValueError` for a name that the defaults lack, a required value that is missing, a value
    out of its bounds, and a retraining cadence that is too short.
    """
    params = _overlay(copy.deepcopy(_defaults()), own)
    if params["first_day"] is None and use_case.past_days is not None:
        params["first_day"] = use_case.past_days[0].isoformat()
    if missing := [name for name in REQUIRED if _at(params, name) is None]:
        raise ValueError(f"{', '.join(missing)}: missing. State what holds for the use case.")
    _require_bounds(params)
    for name, value in _follows(params, use_case).items():
        *sections, last = name.split(".")
        section = _at(params, ".".join(sections))
        if section[last] is None:
            found = value()
            whole = isinstance(found, float) and found.is_integer()
            section[last] = int(found) if whole else found
    policy, least = params["monitoring"]["policy"], _shortest_retraining(params, use_case)
    if "schedule" in policy["triggers"] and policy["every_days"] < least:
        raise ValueError(
            f"monitoring.policy.every_days is {policy['every_days']:g}. A new version is in shadow "
            "and canary until its labels count, and half of this time is the holdout: the shortest "
            f"that works is {least:g}. State at least that, or a shorter rollout."
        )
    return params


@cache
def _defaults() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load((FOLDER / "defaults.yaml").read_text(), _UniqueKeys)  # noqa: S506 -- a SafeLoader
    return loaded


def _follows(params: dict[str, Any], use_case: UseCase) -> dict[str, Callable[[], Any]]:
    """Return by parameter how it follows from the others and the times; each after its causes."""
    day, late = _decision_days(use_case), math.ceil(use_case.horizon / DAY)
    label_hours = max(use_case.horizon / HOUR, 1.0)
    costs, gates = params["costs"], params["gates"]
    shadow, canary = params["rollout"]["shadow"], params["rollout"]["canary"]
    return {
        "costs.threshold": lambda: costs["false_alarm"] / (costs["false_alarm"] + costs["miss"]),
        "training.holdout_days": lambda: 2 * WEEK * day,
        "gates.max_label_age_days": lambda: 2 * day,
        "gates.margin_cost": lambda: 0.05 * 1000 * 0.2 * costs["miss"],
        "gates.margin_slice_cost": lambda: 1.25 * gates["margin_cost"],
        "gates.margin_slice_proof": lambda: 3 * gates["margin_cost"],
        "monitoring.window_days": lambda: 2 * WEEK * day + late,
        "monitoring.label_hours": lambda: label_hours,
        "monitoring.policy.cool_down_days": lambda: 2 * WEEK * day,
        "rollout.shadow.days": lambda: WEEK * day + late,
        "rollout.shadow.label_hours": lambda: label_hours,
        "rollout.shadow.margin_cost": lambda: 0.625 * gates["margin_cost"],
        "rollout.shadow.spread": lambda: 1.5 * gates["margin_cost"],
        "rollout.shadow.max_days": lambda: 2 * shadow["days"],
        "rollout.canary.days": lambda: day,
        "rollout.canary.max_days": lambda: 3 * canary["days"],
        "monitoring.policy.every_days": lambda: max(
            4 * WEEK, _shortest_retraining(params, use_case)
        ),
        "replay.until": lambda: params["as_of"],
    }


def _decision_days(use_case: UseCase) -> float:
    """Return the days in which each entity has had a decision: at least one batch."""
    return max(use_case.cadence / DAY, 1.0)


def _shortest_retraining(params: Mapping[str, Any], use_case: UseCase) -> float:
    """Return the fewest days between trainings, for the rollout and for the holdout."""
    rollout = params["rollout"]
    holdout = params["gates"]["min_days"] * _decision_days(use_case)
    return float(max(rollout["shadow"]["days"] + rollout["canary"]["days"], 2 * holdout))


def _require_bounds(params: Mapping[str, Any]) -> None:
    for name, (low, high) in BOUNDS.items():
        value = _at(params, name)
        if value is not None and not (isinstance(value, int | float) and low <= value <= high):
            raise ValueError(f"{name} is {value!r}. It must be a number from {low} to {high}.")


def _at(params: Mapping[str, Any], name: str) -> Any:
    for part in filter(None, name.split(".")):
        params = params[part]
    return params


def _overlay(defaults: Mapping[str, Any], own: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """Return `defaults` with the values of `own`, except null; a mapping is overlaid in turn."""
    merged = dict(defaults)
    for name, value in own.items():
        inner, default = f"{at}.{name}" if at else name, defaults.get(name)
        if name not in defaults and at not in OPEN_SECTIONS:
            raise ValueError(f"{inner}: no parameter has this name.")
        if value is None:
            continue
        if not isinstance(default, Mapping) or inner == "replay.policies":
            merged[name] = value
        elif isinstance(value, Mapping):
            merged[name] = _overlay(default, value, inner)
            if inner == "schedules":  # a flow that is left out has none
                merged[name] = {flow: merged[name][flow] for flow in value}
        else:
            raise ValueError(f"{inner}: must be a mapping.")
    return merged
