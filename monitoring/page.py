"""What a person sees of a monitoring run: one page, the decision on top, pictures before tables."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from monitoring import charts
from monitoring.layout import document, numbers, table


def write(
    path: Path,
    found: Mapping[str, Any],
    days: pd.DataFrame,
    live: pd.DataFrame,
    reference: pd.DataFrame,
) -> None:
    """Writes the page of the monitoring result `found` (as `pipelines.monitor` stores it).

    `days` is what `performance.by_day` gives; `live` and `reference` have `label`, `probability`.
    """
    plots = {
        "Cost per 1,000 cases, by day": daily_cost(days, found["expected"]["cost_per_1000"]),
        "Mean prediction and rate, by day": daily_rate(days),
        "Calibration": charts.calibration(_side_by_side(live, reference), ["live", "evaluation"]),
        "Distribution of predictions": predictions(live, reference),
    }
    if found["drift"]:
        plots["Drift of the features"] = drift(found["drift"])
    shown = "".join(
        f"<figure><figcaption>{escape(title)}</figcaption>{charts.svg(figure, f'm{at}')}</figure>"
        for at, (title, figure) in enumerate(plots.items())
    )
    sections = [
        f"<h1>Monitoring as of {escape(found['as_of'][:16])} UTC</h1>",
        f'<p class="soft">Version {escape(found["champion"])}, '
        f"{found['n_predictions']:,} predictions, {found['live']['coverage']:.1%} with a known "
        "label.</p>" if found["live"] else "",
        _outcome(found),
        f'<h2>What production shows</h2><div class="plots">{shown}</div>',
        "<h2>Triggers</h2>", _triggers(found),
        "<h2>Live against evaluation</h2>", _metrics(found),
    ]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document(f"Monitoring {found['as_of'][:10]}", sections))


def daily_cost(days: pd.DataFrame, expected: float) -> Figure:
    """Cost per 1,000 cases of each day, against what the evaluation let expect."""
    figure, axes = charts.axes_of("", "cost per 1,000 cases")
    axes.bar(days["day"], days["cost_per_1000"], color=charts.CANDIDATES[0], width=0.8)
    axes.axhline(expected, color=charts.ROLES["champion"], linewidth=1.2, label="evaluation")
    charts.legend(axes, "upper left")
    _dates(figure)
    return figure


def daily_rate(days: pd.DataFrame) -> Figure:
    """Mean prediction and observed rate of each day."""
    figure, axes = charts.axes_of("", "share of cases")
    axes.plot(days["day"], days["mean_prediction"], color=charts.CANDIDATES[0], label="predicted")
    axes.plot(days["day"], days["base_rate"], color=charts.LABELS[1], label="observed")
    axes.set_ylim(0)
    charts.legend(axes, "upper left")
    _dates(figure)
    return figure


def predictions(live: pd.DataFrame, reference: pd.DataFrame) -> Figure:
    """Distribution of the probabilities served, against that of the evaluation."""
    figure, axes = charts.axes_of("probability", "share of cases")
    colours = {"evaluation": charts.ROLES["baseline"], "live": charts.CANDIDATES[0]}
    for name, frame in (("evaluation", reference), ("live", live)):
        weights = np.full(len(frame), 1 / max(len(frame), 1))
        axes.hist(
            frame["probability"], bins=np.linspace(0, 1, 41).tolist(), weights=weights,
            color=colours[name], alpha=0.6, label=name,
        )  # fmt: skip
    charts.legend(axes, "upper right")
    return figure


def drift(found: Mapping[str, Any], most: int = 20) -> Figure:
    """The features that moved most, each as a multiple of its limit."""
    moved = {name: each["score"] / each["limit"] for name, each in found["features"].items()}
    moved["probability"] = found["prediction"]["score"] / found["prediction"]["limit"]
    ranked = sorted(moved.items(), key=lambda item: -item[1])[:most]
    figure, axes = charts.axes_of("distance, as a multiple of its limit", "", height=5.8)
    axes.barh(
        [name for name, _ in ranked],
        [value for _, value in ranked],
        color=[charts.LABELS[1] if value >= 1 else charts.ROLES["baseline"] for _, value in ranked],
        height=0.6,
    )
    axes.axvline(1, color=charts.ROLES["champion"], linewidth=1.2)
    axes.invert_yaxis()
    return figure


def _dates(figure: Figure) -> None:
    figure.autofmt_xdate(rotation=45)


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
        f"<tr><td>{escape(each['name'])}</td><td>{'fired' if each['fired'] else 'quiet'}</td>"
        f"<td>{'acts' if each['acts'] else 'is told only'}</td><td>{escape(each['told'])}</td></tr>"
        for each in found["triggers"]
    ]
    return table(["trigger", "state", "effect", "what"], rows)


def _metrics(found: Mapping[str, Any]) -> str:
    if not found["live"]:
        return "<p>No label is known yet.</p>"
    rows = []
    for name in ("cost_per_1000", "auc", "log_loss", "brier", "calibration_gap", "base_rate"):
        values = [f"{found[side][name]:,.3f}" for side in ("live", "expected")]
        rows.append(f"<tr><td>{escape(name.replace('_', ' '))}</td>{numbers(values)}</tr>")
    return table(["metric", "*live", "*evaluation"], rows)
