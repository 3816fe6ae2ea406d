"""The report on the replayed policies (`mlops report`): one page, with the summary first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from features import durable_files
from monitoring.pages import figure_markup, year_charts
from monitoring.pages.layout import render_document
from pipelines.replay import (
    agreement,
    fast_replay,
    platform_section,
    policies,
    replay_tables,
    served_record,
    served_replay,
)
from settings import Settings, UserError


def write_replay_page(settings: Settings, first: datetime, end: datetime) -> Path:
    """Write `var/reports/year.html`. Raises `UserError` without a replay of the period."""
    days = read_replayed_days(settings, first, end)
    platform = build_platform_section(settings, first, end)
    path = settings.var / "reports" / "year.html"
    durable_files.write_file(path, render_replay_page(days, settings.params(), platform))
    return path


def build_platform_section(settings: Settings, first: datetime, end: datetime) -> str:
    """Return the section on the default policy's served replay, or a note if there is none."""
    default = settings.params()["replay"]["default"]
    own = served_replay.replay_home(settings, first, default)
    records = served_record.read_day_records(own)[: (end - first).days]
    if not records:
        return (
            '<p class="soft">Only the fast replay has run: <code>mlops replay</code> without '
            "<code>--fast</code> measures the platform.</p>"
        )
    served = pd.DataFrame(records)
    file = fast_replay.replay_folder(settings, first, default) / fast_replay.DAYS_FILE
    fast = _read_days(file).head(len(served)) if file.exists() else pd.DataFrame()
    comparable = len(fast) == len(served)
    agreed = agreement.format_agreement(served, fast) if comparable else "not replayed"
    figures = platform_section.platform_figures(own, served)
    return platform_section.render_platform_section(figures, agreed)


def read_replayed_days(
    settings: Settings, first: datetime, end: datetime
) -> dict[str, pd.DataFrame]:
    """Return the days of each completely replayed policy, those of the parameters first."""
    folder = fast_replay.replay_folder(settings, first, "x").parent
    known = list(settings.params()["replay"]["policies"])
    files = {path.parent.name: path for path in sorted(folder.glob(f"*/{fast_replay.DAYS_FILE}"))}
    names = [name for name in known if name in files]
    names += [name for name in files if name not in known]
    n_days = (end - first).days
    days = {name: _read_days(files[name]).head(n_days) for name in names}
    complete = {name: frame for name, frame in days.items() if len(frame) == n_days}
    if policies.NEVER_POLICY not in complete or len(complete) < 2:
        raise UserError(
            f"No policy beside `never` was replayed from {first:%Y-%m-%d} to {end:%Y-%m-%d}. Run "
            f"`mlops replay --fast --from {first:%Y-%m-%d} --to {end:%Y-%m-%d} --policy all`."
        )
    return complete


def _read_days(path: Path) -> pd.DataFrame:
    # A running replay may be writing an incomplete last line.
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return pd.DataFrame([json.loads(line) for line in lines])


def render_replay_page(
    days: Mapping[str, pd.DataFrame], params: Mapping[str, Any], platform: str
) -> str:
    """Return the page as HTML; `platform` is the HTML of its platform section."""
    prices = params["replay"]["prices"]
    rows = policies.compare_policies(days, prices, params["seed"])
    default = params["replay"]["default"]
    name = default if default in days else str(rows[-1]["policy"])
    own, shipped = days[name], [each for each in days if each in params["replay"]["policies"]]
    row = next(each for each in rows if each["policy"] == name)
    limit = params["monitoring"]["policy"]["max_calibration_gap"]
    first, last = (escape(str(own["day"].iloc[at])) for at in (0, -1))
    retraining = [each for each in shipped if each != policies.NEVER_POLICY]
    cost = figure_markup.figure_html("Cost by week", "a dot marks a release to all traffic",
                              year_charts.weekly_cost_figure(days, shipped))  # fmt: skip
    drift = figure_markup.figure_html(
        "Drift by feature and week", "distance as a multiple of its limit; 1 has drifted",
        year_charts.drift_heatmap(own),
    )  # fmt: skip
    figures = (
        ("Saving against never", "in units of one false alarm",
         year_charts.cumulative_saving_figure(days, retraining)),
        ("Calibration", "red: releases; dashed: the limit of the trigger `calibration`",
         year_charts.bias_figure(own, limit)),
        ("Label delay", "median of the window", year_charts.label_delay_figure(own)),
    )  # fmt: skip
    sections = [
        f"<h1>Cost by retraining policy, {first} to {last}</h1>",
        replay_tables.render_summary(row, own),
        "<h2>Cost</h2>", f'<div class="full">{cost}</div>',
        "<h2>Policies compared</h2>", replay_tables.render_policies(rows, prices),
        f"<h2>{'Default policy' if name == default else 'Policy'}: {escape(name)}</h2>",
        figure_markup.figure_grid(figures),
        "<h2>Before and after each release</h2>", replay_tables.render_releases(own),
        "<h2>Platform</h2>", platform,
        "<h2>Drift</h2>", f'<div class="full">{drift}</div>',
        "<h2>Decisions</h2>", replay_tables.render_decisions(own),
    ]  # fmt: skip
    return render_document("Cost by retraining policy", sections)
