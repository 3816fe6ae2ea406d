"""Retraining policies of a replay, and the comparison of their costs, also as a table."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from features.partitions import recipe_digest
from monitoring import retraining_decision
from monitoring.measures.scores import day_bootstrap
from settings import UserError

NEVER_POLICY = "never"
IRRELEVANT_SECTIONS = ("replay", "retention", "schedules", "turn")  # they do not affect a replay


def params_digest(params: Mapping[str, Any]) -> str:
    """Return a digest of the parameters that affect a replay: other ones start a new replay."""
    relevant = {name: params[name] for name in params if name not in IRRELEVANT_SECTIONS}
    return recipe_digest(json.dumps(relevant, sort_keys=True, default=str))


def choose_policies(params: Mapping[str, Any], names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the policies `names`; `all` means all policies of the parameters."""
    known = list(params["replay"]["policies"])
    chosen = [each for name in names for each in (known if name == "all" else [name])]
    return {name: find_policy(params, name) for name in chosen}


def sensitivity_policies(params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the default policy with other limits of the trigger `calibration`."""
    default = params["replay"]["default"]
    policy = find_policy(params, default)
    return {
        f"{default} at {gap:g}": {**policy, "max_calibration_gap": gap}
        for gap in params["replay"]["sensitivity"]
    }


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
    policy: dict[str, Any] = {}
    triggers: set[str] = set()
    for part in parts:
        changes = {"triggers": shipped["triggers"], **known[part]}
        triggers |= set(changes.pop("triggers"))
        if clashes := [key for key in changes if policy.get(key, changes[key]) != changes[key]]:
            raise UserError(
                f"The policies {name} contradict each other on {clashes[0]}. Combine others."
            )
        policy |= changes
    policy = {**shipped, **policy, "triggers": sorted(triggers)}
    retraining_decision.check_policy(policy)
    return policy


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
        cost, baseline, n = (float(own[part].sum()) for part in ("cost", "baseline_cost", "n"))
        row: dict[str, Any] = {
            "policy": name, "trained": int(own["trained"].sum()),
            "released": int(own["released"].sum()), "n": int(n),
            "cost_per_1000": 1000 * cost / n, "baseline_per_1000": 1000 * baseline / n,
            "against_baseline": 1 - cost / baseline,
            "saving": None, "low": None, "high": None, "net": [],
        }  # fmt: skip
        never = days.get(NEVER_POLICY)
        if never is not None and never["day"].tolist() == own["day"].tolist():
            saved = never["cost"].to_numpy("float64") - own["cost"].to_numpy("float64")
            # A row is a day, so the mean over rows is the mean over days of the bootstrap.
            shares = saved / float(never["cost"].mean())
            row["saving"] = float(shares.mean())
            row["low"], row["high"] = day_bootstrap(shares, own["day"], seed)
            row["net"] = [float(saved.sum()) - price * row["trained"] for price in prices]
        rows.append(row)
    return rows


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
