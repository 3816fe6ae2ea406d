"""What a person sees of a monitoring run: one page, the decision on top, pictures before tables."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from features import durable_files
from monitoring.pages import charts
from monitoring.pages.layout import number_cells, render_document, render_table


def write_monitoring_page(
    path: Path,
    found: Mapping[str, Any],
    days: pd.DataFrame,
    live: pd.DataFrame,
    reference: pd.DataFrame,
) -> None:
    """Writes the page of the monitoring result `found` (as `pipelines.retraining.monitor` stores
    it).

    `days` is what `performance.by_day` gives; `live` (its label NaN where unknown) and `reference`
    have `label` and `probability`.
    """
    sections = [
        f"<h1>Monitoring as of {pd.Timestamp(found['as_of']):%Y-%m-%d %H:%M} UTC</h1>",
        f'<p class="soft">Version {escape(found["champion"])}, {found["n_predictions"]:,} '
        f"predictions, {live['label'].notna().mean():.1%} with a known label.</p>",
        _outcome(found),
        "<h2>Triggers</h2>", _triggers(found),
        "<h2>What production shows</h2>", _plots(found, days, live, reference),
        "<h2>Live against evaluation</h2>", _metrics(found),
        "<details><summary>By slice</summary>", _slices(found), "</details>",
    ]  # fmt: skip
    durable_files.write_file(path, render_document(f"Monitoring {found['as_of'][:10]}", sections))


def _plots(
    found: Mapping[str, Any], days: pd.DataFrame, live: pd.DataFrame, reference: pd.DataFrame
) -> str:
    plots: list[tuple[str, str, Figure]] = []
    if found["live"]:
        both = _side_by_side(live.dropna(subset="label"), reference)
        plots += [
            ("Cost", "of each day's decisions, per 1,000 cases",
             daily_cost_figure(days, found["expected"]["cost_per_1000"])),
            ("Predicted and observed", "of each day; labels known by now", daily_rate_figure(days)),
            ("Calibration", "on the diagonal, a probability means what it says",
             charts.calibration_figure(both, ["live", "evaluation"])),
        ]  # fmt: skip
    told = "labelled or not, against those of the evaluation"
    plots.append(("Predictions", told, prediction_histogram(live, reference)))
    if found["drift"]:
        told = "the features that moved most; the line is the limit of each"
        if lost := found["drift"].get("unmeasured"):
            told += f"; not measured: {', '.join(lost)}"
        plots.append(("Drift", told, drift_figure(found["drift"])))
    shown = (
        f"<figure><figcaption>{title} <small>{told}</small></figcaption>"
        f'<div role="img" aria-label="{title}: {told}">{charts.figure_to_svg(figure, title)}</div>'
        "</figure>"
        for title, told, figure in plots
    )
    return f'<div class="plots">{"".join(shown)}</div>'


def daily_cost_figure(days: pd.DataFrame, expected: float) -> Figure:
    """Cost per 1,000 cases of each day, against what the evaluation let expect."""
    figure, axes = charts.new_axes("", "cost per 1,000 cases")
    axes.bar(days["day"], days["cost_per_1000"], color=charts.CANDIDATE_COLOURS[0], width=0.8)
    axes.axhline(expected, color=charts.ROLE_COLOURS["champion"], linewidth=1.2, label="evaluation")
    axes.set_ylim(0, max(expected, days["cost_per_1000"].max()) * 1.2)
    charts.add_legend(axes, "upper left")
    _dates(axes)
    return figure


def daily_rate_figure(days: pd.DataFrame) -> Figure:
    """Mean prediction and observed rate of each day."""
    figure, axes = charts.new_axes("", "share of cases")
    axes.plot(
        days["day"], days["mean_prediction"], color=charts.CANDIDATE_COLOURS[0], label="predicted"
    )
    axes.plot(days["day"], days["base_rate"], color=charts.LABEL_COLOURS[1], label="observed")
    axes.set_ylim(0, max(days["mean_prediction"].max(), days["base_rate"].max()) * 1.25)
    charts.add_legend(axes, "upper left")
    _dates(axes)
    return figure


def prediction_histogram(live: pd.DataFrame, reference: pd.DataFrame) -> Figure:
    """Distribution of the probabilities served, against that of the evaluation."""
    figure, axes = charts.new_axes("probability", "share of cases")
    colours = {"evaluation": charts.ROLE_COLOURS["baseline"], "live": charts.CANDIDATE_COLOURS[0]}
    for name, frame in (("evaluation", reference), ("live", live)):
        weights = np.full(len(frame), 1 / max(len(frame), 1))
        axes.hist(
            frame["probability"], bins=np.linspace(0, 1, 41).tolist(), weights=weights,
            color=colours[name], alpha=0.6, label=name,
        )  # fmt: skip
    charts.add_legend(axes, "upper right")
    return figure


def drift_figure(found: Mapping[str, Any], most: int = 12) -> Figure:
    """The features that moved most, each as a multiple of its limit."""
    moved = {name: each["score"] / each["limit"] for name, each in found["features"].items()}
    moved["probability"] = found["prediction"]["score"] / found["prediction"]["limit"]
    ranked = sorted(moved.items(), key=lambda item: -item[1])[:most]
    figure, axes = charts.new_axes("distance, as a multiple of its limit", "")
    axes.barh(
        [name for name, _ in ranked],
        [value for _, value in ranked],
        color=[
            charts.LABEL_COLOURS[1] if value >= 1 else charts.ROLE_COLOURS["baseline"]
            for _, value in ranked
        ],
        height=0.6,
    )
    axes.axvline(1, color=charts.ROLE_COLOURS["champion"], linewidth=1.2)
    axes.invert_yaxis()
    return figure


def _dates(axes: Axes) -> None:
    locator = AutoDateLocator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _side_by_side(live: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    # The curves want one frame of labels: each model's rows are its own.
    return pd.concat(
        [
            live[["label"]].assign(live=live["probability"], evaluation=np.nan),
            reference[["label"]].assign(live=np.nan, evaluation=reference["probability"]),
        ]
    )


def _outcome(found: Mapping[str, Any]) -> str:
    answer = "Retrain" if found["retrain"] else "Keep the model"
    mark = " none" if found["problems"] else ""
    reasons = "".join(f"<li>{escape(part)}</li>" for part in found["reason"].split("; "))
    return f'<div class="outcome{mark}"><strong>{answer}</strong><ul>{reasons}</ul></div>'


def _triggers(found: Mapping[str, Any]) -> str:
    rows = [
        f"<tr><th>{escape(each['name'])}</th><td>{_state(each)}</td>"
        f"<td>{'acts' if each['acts'] else 'is told only'}</td><td>{escape(each['told'])}</td></tr>"
        for each in found["triggers"]
    ]
    return render_table(["trigger", "state", "effect", "what"], rows)


def _state(trigger: Mapping[str, Any]) -> str:
    if trigger["value"] is None:
        return "not judged"
    return "<b>fired</b>" if trigger["fired"] else "quiet"


def _metrics(found: Mapping[str, Any]) -> str:
    if not found["live"]:
        return "<p>The labels known by now allow no metric.</p>"
    live, rows = found["live"], []
    intervals = {
        "cost_per_1000": f"{live['cost_low']:,.0f} to {live['cost_high']:,.0f}",
        "bias": f"{live['bias_low']:+.3f} to {live['bias_high']:+.3f}",
        "saving": f"{live['saving_low']:+.3f} to {live['saving_high']:+.3f}",
    }
    for name in (*found["expected"], "bias", "cost_without", "saving"):
        values = [_number(found[side].get(name)) for side in ("live", "expected")]
        cells = number_cells([values[0], intervals.get(name, ""), values[1]])
        rows.append(f"<tr><th>{escape(name.replace('_', ' '))}</th>{cells}</tr>")
    told = render_table(["metric", "*live", "*90%, over days", "*evaluation"], rows)
    if found["estimated"] is None:
        return told
    week = f"The decisions of the last week cost {found['estimated']:,.0f} per 1,000"
    return f'{told}<p class="soft">{week} by their own probabilities, labelled or not.</p>'


def _slices(found: Mapping[str, Any]) -> str:
    rows = []
    for row in found["slices"]:
        told = f"<td>{escape(row['slice'])}</td><td>{escape(row['value'])}</td>"
        cells = [_number(row[name]) for name in ("n", "base_rate", "cost_per_1000")]
        cells += [_interval(row, "cost", ",.0f"), _number(row["bias"])]
        cells += [_interval(row, "bias", "+.3f"), f"{row['missing']:.0%}"]
        few = "" if row["enough"] else "too few to judge"
        rows.append(f'<tr>{told}{number_cells(cells)}<td class="soft">{few}</td></tr>')
    heads = ["slice", "value", "*labelled", "*base rate", "*cost per 1,000", "*90%, over days",
             "*bias", "*90%, over days", "*labels due missing", ""]  # fmt: skip
    return render_table(heads, rows)


def _interval(row: Mapping[str, Any], of: str, form: str) -> str:
    low, high = row[f"{of}_low"], row[f"{of}_high"]
    return "–" if low is None else f"{low:{form}} to {high:{form}}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.3f}"
