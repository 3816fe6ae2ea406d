"""Summary and tables of the replay page, as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

from monitoring.pages.layout import number_cells, render_table
from monitoring.retraining_decision import ALERT_ONLY

DAYS_AFTER_RELEASE = 7


def render_summary(row: Mapping[str, Any], days: pd.DataFrame) -> str:
    """Return the three sentences that a manager needs, from the policy's row and days."""
    not_released = int(days["trained"].sum() - days["released"].sum())
    fired = days["fired"].map(lambda each: bool(each) if isinstance(each, list) else False)
    retrainings = "1 retraining" if row["trained"] == 1 else f"{row['trained']} retrainings"
    lines = [
        f"Over {len(days)} days and {row['n']:,} decisions the cost was "
        f"{row['cost_per_1000']:,.0f} per 1,000, {row['against_baseline']:.1%} less than with "
        f"known rates instead of a model ({row['baseline_per_1000']:,.0f}).",
        f"{retrainings} saved {row['saving']:.1%} of the cost of the first model without "
        f"retraining (90% interval {row['low']:.1%} to {row['high']:.1%}).",
        f"On {int(fired.sum())} days a check was over its limit. {row['released']} of "
        f"{row['trained']} new models passed gates, shadow and canary; {not_released} did not, or "
        "not yet.",
    ]
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    saved = row["low"] > 0
    answer = "Retraining saved costs, before its own price" if saved else "No saving is shown"
    kind = "" if saved else "none"
    return f'<div class="outcome {kind}"><strong>{answer}</strong><ul>{items}</ul></div>'


def render_policies(rows: Sequence[Mapping[str, Any]], prices: Sequence[float]) -> str:
    lines = []
    for row in rows:
        interval = "–" if row["low"] is None else f"{row['low']:.1%} to {row['high']:.1%}"
        saving = "–" if row["saving"] is None else f"{row['saving']:.1%}"
        cells = [
            f"{row['trained']}", f"{row['released']}", f"{row['cost_per_1000']:,.1f}", saving,
            interval, f"{row['against_baseline']:.1%}", *(f"{net:,.0f}" for net in row["net"]),
        ]  # fmt: skip
        lines.append(f"<tr><th>{escape(row['policy'])}</th>{number_cells(cells)}</tr>")
    heads = ["policy", "*trained", "*released", "*cost per 1,000", "*saving", "*90%, over days",
             "*against no model", *(f"*net at {price:,}" for price in prices)]  # fmt: skip
    note = (
        '<p class="soft">Saving: share of the cost without any retraining. Net: the saving of the '
        "whole period less the retrainings at the given price, in units of one false alarm.</p>"
    )
    return render_table(heads, lines) + note


def render_releases(days: pd.DataFrame) -> str:
    lines = []
    for at in days.index[days["released"] > 0]:
        later = days.iloc[min(at + DAYS_AFTER_RELEASE, len(days) - 1)]
        values = [_signed(days["bias"].iloc[at - 1]), _signed(later["bias"])]
        lines.append(
            f"<tr><th>{escape(str(days['day'].iloc[at]))}</th>{number_cells(values)}"
            f"<td>{escape(str(days['rollout'].iloc[at]))}</td></tr>"
        )
    heads = ["released", "*bias on the day before", "*bias a week later", "last rollout step"]
    return render_table(heads, lines)


def render_decisions(days: pd.DataFrame) -> str:
    lines = []
    for _, day in days[(days["trained"] > 0) | (days["withdrawn"] > 0)].iterrows():
        refusals = [
            f"{each['gate']}: {each['told']}" for each in day["verdicts"] if not each["passed"]
        ]
        verdict = "refused by " + "; ".join(refusals) if refusals else "passed every gate"
        result = day["rollout"] if day["withdrawn"] else verdict
        mark = ' class="refused"' if refusals or day["withdrawn"] else ""
        reason = str(day["reason"]).split(f"; {ALERT_ONLY}")[0]
        lines.append(
            f"<tr{mark}><th class='mark'>{escape(str(day['day']))}</th><td>{escape(reason)}</td>"
            f'<td class="told">{escape(str(result))}</td></tr>'
        )
    return render_table(["day", "reason", "result"], lines)


def _signed(value: float | None) -> str:
    return "–" if value is None or pd.isna(value) else f"{value:+.3f}"
