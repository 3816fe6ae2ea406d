"""One page on the replayed policies, made to be looked at: what a manager needs comes first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from features import durable_files
from monitoring.pages import charts, year_charts
from monitoring.pages.layout import number_cells, render_document, render_table
from monitoring.retraining_decision import ALERT_ONLY
from pipelines.replay import (
    agreement,
    fast_replay,
    platform_section,
    policies,
    served_record,
    served_replay,
)
from settings import Settings, UserError

DAYS_AFTER_RELEASE = 7


def write_replay_page(settings: Settings, first: datetime, end: datetime) -> Path:
    """Writes `var/reports/year.html`. Raises `UserError` if nothing was replayed in the period."""
    params = settings.params()
    days = read_replayed_days(settings, first, end)
    path = settings.var / "reports" / "year.html"
    durable_files.write_file(
        path, render_replay_page(days, params, build_platform_section(settings, first, end))
    )
    return path


def build_platform_section(settings: Settings, first: datetime, end: datetime) -> str:
    """The section on the default policy's replay through the real service, if there was one."""
    default = settings.params()["replay"]["default"]
    own = served_replay.replay_home(settings, first, default)
    records = served_record.read_day_records(own)[: (end - first).days]
    if not records:
        return (
            '<p class="soft">Replayed fast, without servers: <code>mlops replay</code> without '
            "<code>--fast</code> gives these figures.</p>"
        )
    lived, fast = (
        pd.DataFrame(records),
        fast_replay.replay_folder(settings, first, default) / fast_replay.DAYS_FILE,
    )
    quick = _read(fast).head(len(lived)) if fast.exists() else pd.DataFrame()
    agreed = (
        agreement.format_agreement(lived, quick) if len(quick) == len(lived) else "not replayed"
    )
    found = platform_section.platform_figures(own, lived) | {"otherwise": agreed}
    return platform_section.render_platform_section(found)


def read_replayed_days(
    settings: Settings, first: datetime, end: datetime
) -> dict[str, pd.DataFrame]:
    """The days of each policy that was replayed to the end, those of the parameters first."""
    place = fast_replay.replay_folder(settings, first, "x").parent
    known = list(settings.params()["replay"]["policies"])
    found = {path.parent.name: path for path in sorted(place.glob(f"*/{fast_replay.DAYS_FILE}"))}
    names = [name for name in known if name in found]
    names += [name for name in found if name not in known]
    length = (end - first).days
    days = {name: _read(found[name]).head(length) for name in names}
    whole = {name: frame for name, frame in days.items() if len(frame) == length}
    if policies.NEVER_POLICY not in whole or len(whole) < 2:
        raise UserError(
            f"No policy beside `never` was replayed from {first:%Y-%m-%d} to {end:%Y-%m-%d}: run "
            f"`mlops replay --fast --from {first:%Y-%m-%d} --to {end:%Y-%m-%d} --policy all`."
        )
    return whole


def _read(path: Path) -> pd.DataFrame:
    # A replay may be writing the line after the last whole one.
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return pd.DataFrame([json.loads(line) for line in lines])


def render_replay_page(
    days: Mapping[str, pd.DataFrame], params: Mapping[str, Any], of_platform: str
) -> str:
    """The page, as HTML; `of_platform` is its section on the platform, HTML already."""
    rows = policies.compare_policies(days, params["replay"]["prices"], params["seed"])
    default = params["replay"]["default"]
    name = default if default in days else str(rows[-1]["policy"])
    own, named = days[name], [n for n in days if n in params["replay"]["policies"]]
    row = next(each for each in rows if each["policy"] == name)
    limit = params["monitoring"]["policy"]["max_calibration_gap"]
    sections = [
        f"<h1>{escape(str(own['day'].iloc[0]))} to {escape(str(own['day'].iloc[-1]))}: "
        "did the loop pay?</h1>",
        render_summary(row, own),
        "<h2>Cost</h2>",
        _wide(
            "Cost by week",
            "a dot where a release reached all traffic",
            year_charts.weekly_cost_figure(days, named),
        ),
        "<h2>Policies side by side</h2>",
        _compared(rows, params["replay"]["prices"]),
        f"<h2>{'The default' if name == default else 'In detail'}: {escape(name)}</h2>",
        '<div class="plots">',
        _plot(
            "Saved over never",
            "in units of one false alarm",
            year_charts.cumulative_saving_figure(
                days, [each for each in named if each != policies.NEVER_POLICY]
            ),
        ),
        _plot(
            "Calibration",
            "red: releases; dashed: the limit that asks for a retraining",
            year_charts.bias_figure(own, limit),
        ),
        _plot("Label delay", "of the window, in the median", year_charts.label_delay_figure(own)),
        "</div>",
        "<h2>Before and after each release</h2>",
        _releases(own),
        "<h2>The platform</h2>",
        of_platform,
        "<h2>Drift</h2>",
        _wide(
            "Drift by feature and week",
            "distance as a multiple of its limit: 1 has drifted",
            year_charts.drift_heatmap(own),
        ),
        "<h2>Decisions</h2>",
        _decisions(own),
    ]
    return render_document("Did the loop pay?", sections)


def render_summary(row: Mapping[str, Any], own: pd.DataFrame) -> str:
    """The three sentences that a manager needs."""
    refused = int(own["trained"].sum() - own["released"].sum())
    fired = int(
        own["fired"].map(lambda each: bool(each) if isinstance(each, list) else False).sum()
    )
    lines = [
        f"Over {len(own)} days and {row['n']:,} decisions the loop cost "
        f"{row['cost_per_1000']:,.0f} per 1,000, {row['against_baseline']:.1%} less than deciding "
        f"by known rates without a model ({row['baseline_per_1000']:,.0f}).",
        f"Retraining {row['trained']} times saved {row['saving']:.1%} of what the first model "
        f"would have cost, had it never been replaced (90% interval {row['low']:.1%} to "
        f"{row['high']:.1%}).",
        f"On {fired} days a check was over its limit; {row['released']} of {row['trained']} new "
        f"models passed gates, shadow and canary, and {refused} did not or were still on the way.",
    ]
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    worth = "none" if row["low"] <= 0 else ""
    answer = (
        "Retraining saved, before its own price" if row["low"] > 0 else "Not shown to save anything"
    )
    return f'<div class="outcome {worth}"><strong>{answer}</strong><ul>{items}</ul></div>'


def _compared(rows: Sequence[Mapping[str, Any]], prices: Sequence[float]) -> str:
    lines = []
    for row in rows:
        between = "–" if row["low"] is None else f"{row['low']:.1%} to {row['high']:.1%}"
        saving = "–" if row["saving"] is None else f"{row['saving']:.1%}"
        cells = [
            f"{row['trained']}", f"{row['released']}", f"{row['cost_per_1000']:,.1f}", saving,
            between, f"{row['against_baseline']:.1%}", *(f"{net:,.0f}" for net in row["net"]),
        ]  # fmt: skip
        lines.append(f"<tr><th>{escape(row['policy'])}</th>{number_cells(cells)}</tr>")
    heads = ["policy", "*trained", "*released", "*cost per 1,000", "*saving", "*90%, over days",
             "*against no model", *(f"*net at {price:,}" for price in prices)]  # fmt: skip
    note = (
        '<p class="soft">Saving is of the cost of never retraining; net is what was saved in the '
        "whole period less the retrainings, each at the price given, in units of one false alarm."
        "</p>"
    )
    return render_table(heads, lines) + note


def _releases(own: pd.DataFrame) -> str:
    lines = []
    for at in own.index[own["released"] > 0]:
        later = own.iloc[min(at + DAYS_AFTER_RELEASE, len(own) - 1)]
        values = [_signed(own["bias"].iloc[at - 1]), _signed(later["bias"])]
        lines.append(
            f"<tr><th>{escape(str(own['day'].iloc[at]))}</th>{number_cells(values)}"
            f"<td>{escape(str(own['rollout'].iloc[at]))}</td></tr>"
        )
    heads = ["released", "*bias on the day before", "*bias a week later", "the last step"]
    return render_table(heads, lines)


def _decisions(own: pd.DataFrame) -> str:
    lines = []
    for _, day in own[(own["trained"] > 0) | (own["withdrawn"] > 0)].iterrows():
        refused = [f"{each['gate']}: {each['told']}" for each in day["verdicts"] if
                   not each["passed"]]  # fmt: skip
        verdict = "refused by " + "; ".join(refused) if refused else "passed every gate"
        came = day["rollout"] if day["withdrawn"] else verdict
        mark = ' class="refused"' if refused or day["withdrawn"] else ""
        why = str(day["reason"]).split(f"; {ALERT_ONLY}")[0]
        lines.append(
            f"<tr{mark}><th class='mark'>{escape(str(day['day']))}</th><td>{escape(why)}</td>"
            f'<td class="told">{escape(str(came))}</td></tr>'
        )
    return render_table(["day", "why", "what came of it"], lines)


def _plot(title: str, told: str, figure: Figure) -> str:
    return (
        f"<figure><figcaption>{title} <small>{told}</small></figcaption>"
        f'<div role="img" aria-label="{title}: {told}">{charts.figure_to_svg(figure, title)}</div>'
        "</figure>"
    )


def _wide(title: str, told: str, figure: Figure) -> str:
    return f'<div class="full">{_plot(title, told, figure)}</div>'


def _signed(value: float | None) -> str:
    return "–" if value is None or pd.isna(value) else f"{value:+.3f}"
