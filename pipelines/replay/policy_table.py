"""The table that compares the policies, for the terminal and documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pipelines.replay import policies


def format_policy_table(days: Mapping[str, pd.DataFrame], params: Mapping[str, Any]) -> str:
    """Return a Markdown table with a row per policy."""
    prices = params["replay"]["prices"]
    heads = [
        "policy", "trained", "released", "cost per 1,000", "saving over never", "90%, over days",
        "against no model", *(f"net at {price:,}" for price in prices),
    ]  # fmt: skip
    lines = ["", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in policies.compare_policies(days, prices, params["seed"]):
        cells = [
            row["policy"], f"{row['trained']}", f"{row['released']}", f"{row['cost_per_1000']:.1f}",
            _share(row["saving"]),
            "–" if row["low"] is None else f"{_share(row['low'])} to {_share(row['high'])}",
            _share(row["against_baseline"]),
            *(f"{net:,.0f}" for net in row["net"]),
        ]  # fmt: skip
        cells += ["–"] * (len(heads) - len(cells))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
