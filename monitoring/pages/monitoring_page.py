"""The HTML page of a monitoring run: the decision on top, figures before tables."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from features import durable_files
from monitoring.pages import charts, figure_markup
from monitoring.pages.layout import number_cells, render_document, render_table
from monitoring.pages.monitoring_figures import (
    daily_cost_figure,
    daily_rate_figure,
    drift_figure,
    prediction_histogram,
)


def write_monitoring_page(
    path: Path,
    result: Mapping[str, Any],
    days: pd.DataFrame,
    live: pd.DataFrame,
    reference: pd.DataFrame,
) -> None:
    """Write the page of a monitoring `result` (as `pipelines.retraining.monitor` stores it).

    `days` is the result of `performance.daily_performance`. `live` (label NaN if unknown) and
    `reference` have `label` and `probability`.
    """
    sections = [
        f"<h1>Monitoring as of {pd.Timestamp(result['as_of']):%Y-%m-%d %H:%M} UTC</h1>",
        f'<p class="soft">Version {escape(result["champion"])}, {result["n_predictions"]:,} '
        f"predictions, {live['label'].notna().mean():.1%} with a known label.</p>",
        _decision(result),
        "<h2>Triggers</h2>", _triggers(result),
        "<h2>Production</h2>", _figures(result, days, live, reference),
        "<h2>Live against evaluation</h2>", _metrics(result),
        "<details><summary>By slice</summary>", _slices(result), "</details>",
    ]  # fmt: skip
    durable_files.write_file(path, render_document(f"Monitoring {result['as_of'][:10]}", sections))


def _figures(
    result: Mapping[str, Any], days: pd.DataFrame, live: pd.DataFrame, reference: pd.DataFrame
) -> str:
    figures: list[tuple[str, str, Figure]] = []
    if result["live"]:
        both = _one_frame(live.dropna(subset="label"), reference)
        figures += [
            ("Cost", "by day of decision, per 1,000 cases",
             daily_cost_figure(days, result["expected"]["cost_per_1000"])),
            ("Predicted and observed", "by day of decision, labels known so far",
             daily_rate_figure(days)),
            ("Calibration", "on the diagonal, predictions equal observed rates",
             charts.calibration_figure(both, ["live", "evaluation"])),
        ]  # fmt: skip
    note = "with and without a label, against those of the evaluation"
    figures.append(("Predictions", note, prediction_histogram(live, reference)))
    if result["drift"]:
        note = "the features that moved most; the line marks each limit"
        if unmeasured := result["drift"].get("unmeasured"):
            note += f"; not measured: {', '.join(unmeasured)}"
        figures.append(("Drift", note, drift_figure(result["drift"])))
    return figure_markup.figure_grid(figures)


def _one_frame(live: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    # The calibration figure needs one frame; each side has rows of its own.
    return pd.concat(
        [
            live[["label"]].assign(live=live["probability"], evaluation=np.nan),
            reference[["label"]].assign(live=np.nan, evaluation=reference["probability"]),
        ]
    )


def _decision(result: Mapping[str, Any]) -> str:
    answer = "Retrain" if result["retrain"] else "Keep the model"
    mark = " none" if result["problems"] else ""
    reasons = "".join(f"<li>{escape(part)}</li>" for part in result["reason"].split("; "))
    return f'<div class="outcome{mark}"><strong>{answer}</strong><ul>{reasons}</ul></div>'


def _triggers(result: Mapping[str, Any]) -> str:
    rows = [
        f"<tr><th>{escape(each['name'])}</th><td>{_state(each)}</td>"
        f"<td>{'retraining' if each['acts'] else 'alert only'}</td>"
        f"<td>{escape(each['told'])}</td></tr>"
        for each in result["triggers"]
    ]
    return render_table(["trigger", "state", "effect", "measurement"], rows)


def _state(trigger: Mapping[str, Any]) -> str:
    if trigger["value"] is None:
        return "not judged"
    return "<b>fired</b>" if trigger["fired"] else "quiet"


def _metrics(result: Mapping[str, Any]) -> str:
    if not result["live"]:
        return "<p>The labels known so far allow no metric.</p>"
    live, rows = result["live"], []
    intervals = {
        "cost_per_1000": f"{live['cost_low']:,.0f} to {live['cost_high']:,.0f}",
        "bias": f"{live['bias_low']:+.3f} to {live['bias_high']:+.3f}",
        "saving": f"{live['saving_low']:+.3f} to {live['saving_high']:+.3f}",
    }
    for name in (*result["expected"], "bias", "cost_without", "saving"):
        values = [_number(result[side].get(name)) for side in ("live", "expected")]
        cells = number_cells([values[0], intervals.get(name, ""), values[1]])
        rows.append(f"<tr><th>{escape(name.replace('_', ' '))}</th>{cells}</tr>")
    table = render_table(["metric", "*live", "*90%, over days", "*evaluation"], rows)
    if result["estimated"] is None:
        return table
    week = f"Estimated cost of the last week: {result['estimated']:,.0f} per 1,000 decisions,"
    return f'{table}<p class="soft">{week} by their probabilities, with and without a label.</p>'


def _slices(result: Mapping[str, Any]) -> str:
    rows = []
    for row in result["slices"]:
        slice_cells = f"<td>{escape(row['slice'])}</td><td>{escape(row['value'])}</td>"
        cells = [_number(row[name]) for name in ("n", "base_rate", "cost_per_1000")]
        cells += [_interval(row, "cost", ",.0f"), _number(row["bias"])]
        cells += [_interval(row, "bias", "+.3f"), f"{row['missing']:.0%}"]
        note = "" if row["enough"] else "too few labels to judge"
        rows.append(f'<tr>{slice_cells}{number_cells(cells)}<td class="soft">{note}</td></tr>')
    heads = ["slice", "value", "*labelled", "*base rate", "*cost per 1,000", "*90%, over days",
             "*bias", "*90%, over days", "*due labels missing", ""]  # fmt: skip
    return render_table(heads, rows)


def _interval(row: Mapping[str, Any], name: str, form: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "–" if low is None else f"{low:{form}} to {high:{form}}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.3f}"
