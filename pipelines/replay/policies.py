"""Retraining policies of a replay, and the comparison of their costs, also as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from monitoring import retraining_decision
from settings import UserError
from usecase.evaluation import day_bootstrap

NEVER_POLICY = "never"


def find_policy(params: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the policy `name`, or several joined by `+`, with the triggers of all.

    Raises `UserError` for an unknown name, contradicting policies, or an incomplete policy.
    """
    known, shipped = params["replay"]["policies"], params["monitoring"]["policy"]
    parts = name.split("+")
    if unknown := [part for part in parts if part not in known]:
        raise UserError(
            f"There is no policy {', '.join(unknown)} in replay.policies. Choose from "
            f"{', '.join(known)}."
        )
    combined: dict[str, Any] = {}
    triggers: list[str] = []
    for part in parts:
        changes = {key: value for key, value in known[part].items() if key != "triggers"}
        if clashes := [key for key in changes if combined.get(key, changes[key]) != changes[key]]:
            raise UserError(
                f"The policies {name} contradict each other on {clashes[0]}. Combine others."
            )
        combined |= changes
        triggers += known[part].get("triggers", shipped["triggers"])
    policy = {**shipped, **combined, "triggers": sorted(set(triggers))}
    retraining_decision.check_policy(policy)
    return policy


def with_calibration_limit(policy: Mapping[str, Any], gap: float) -> dict[str, Any]:
    """Return the policy with another limit of the trigger `calibration`."""
    return {**policy, "max_calibration_gap": gap}


def compare_policies(
    days: Mapping[str, pd.DataFrame], prices: Sequence[float], seed: int
) -> list[dict[str, Any]]:
    """Return a row per policy, from its days.

    Days have `day`, `n`, `cost`, `baseline_cost`, `trained`, `released`. `saving`: share of the
    cost of `never`, with a 90% interval over days. `net`: the saving of the whole period less the
    retrainings, at each of `prices`, in units of one false alarm. Without a replay of `never` over
    the same days, `saving` is None and `net` empty.
    """
    rows = []
    for name, own in days.items():
        cost, baseline, n = (own[column].sum() for column in ("cost", "baseline_cost", "n"))
        row = {
            "policy": name, "trained": int(own["trained"].sum()),
            "released": int(own["released"].sum()), "n": int(n),
            "cost_per_1000": 1000 * float(cost / n),
            "baseline_per_1000": 1000 * float(baseline / n),
            "against_baseline": 1 - float(cost / baseline),
            "saving": None, "low": None, "high": None, "net": [],
        }  # fmt: skip
        if NEVER_POLICY in days and days[NEVER_POLICY]["day"].tolist() == own["day"].tolist():
            row |= _compare_with_never(days[NEVER_POLICY], own, prices, seed)
        rows.append(row)
    return rows


def _compare_with_never(
    never: pd.DataFrame, own: pd.DataFrame, prices: Sequence[float], seed: int
) -> dict[str, Any]:
    saved = (never["cost"].to_numpy() - own["cost"].to_numpy()).astype("float64")
    total = float(never["cost"].sum())
    # A row is a day, so the mean over rows is the mean over days that the bootstrap needs.
    low, high = day_bootstrap(saved, own["day"], seed)
    per_day = total / len(own)
    trained = int(own["trained"].sum())
    return {
        "saving": float(np.sum(saved)) / total, "low": low / per_day, "high": high / per_day,
        "net": [float(np.sum(saved)) - price * trained for price in prices],
    }  # fmt: skip


def policy_cells(
    rows: Sequence[Mapping[str, Any]], prices: Sequence[float]
) -> tuple[list[str], list[list[str]]]:
    """Return the heads and, per row of `compare_policies`, the texts of a table."""

    def share(value: float | None) -> str:
        return "–" if value is None else f"{value:.1%}"

    nets = [f"net at {price:,}" for price in prices]
    heads = ["policy", "trained", "released", "cost per 1,000", "saving over never",
             "90%, over days", "against no model", *nets]  # fmt: skip
    cells = [
        [
            str(row["policy"]), f"{row['trained']}", f"{row['released']}",
            f"{row['cost_per_1000']:.1f}", share(row["saving"]),
            "–" if row["low"] is None else f"{share(row['low'])} to {share(row['high'])}",
            share(row["against_baseline"]),
            *([f"{net:,.0f}" for net in row["net"]] or ["–"] * len(prices)),
        ]
        for row in rows
    ]  # fmt: skip
    return heads, cells


def format_policy_table(days: Mapping[str, pd.DataFrame], params: Mapping[str, Any]) -> str:
    """Return a Markdown table with a row per policy."""
    prices = params["replay"]["prices"]
    heads, cells = policy_cells(compare_policies(days, prices, params["seed"]), prices)
    lines = [f"| {' | '.join(each)} |" for each in (heads, *cells)]
    return "\n".join(["", lines[0], "|---" * len(heads) + "|", *lines[1:]])
