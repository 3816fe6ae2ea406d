"""The HTML page of a monitoring run: the decision on top, figures before tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from features import durable_files
from monitoring.pages import charts
from monitoring.pages.layout import render_page

LIVE_COLOUR = charts.CANDIDATE_COLOURS[0]


def write_monitoring_page(
    path: Path, result: Mapping[str, Any], days: pd.DataFrame, live: pd.DataFrame,
    reference: pd.DataFrame,
) -> None:  # fmt: skip
    """Write the page of a monitoring `result` (as `pipelines.retraining.monitor` stores it).

    `days` is the result of `performance.daily_performance`. `live` (label NaN if unknown) and
    `reference` have `label` and `probability`.
    """
    page = render_page(
        "monitoring/pages/monitoring_page.html.j2",
        result=result, as_of=f"{pd.Timestamp(result['as_of']):%Y-%m-%d %H:%M} UTC",
        labelled=f"{live['label'].notna().mean():.1%}", metrics=_metrics(result),
        figures=_figures(result, days, live, reference), number=_number, interval=_interval,
    )  # fmt: skip
    durable_files.write_file(path, page)


def _figures(
    result: Mapping[str, Any], days: pd.DataFrame, live: pd.DataFrame, reference: pd.DataFrame
) -> list[tuple[str, str, Figure]]:
    figures: list[tuple[str, str, Figure]] = []
    if result["live"]:
        # The calibration figure needs one frame; each side has rows of its own.
        both = pd.concat(
            frame[["label"]].assign(**{side: frame["probability"]})
            for side, frame in (("live", live), ("evaluation", reference))
        )
        figures += [
            ("Cost", "by day of decision, per 1,000 cases",
             daily_cost_figure(days, result["expected"]["cost_per_1000"])),
            ("Predicted and observed", "by day of decision, labels known so far",
             daily_rate_figure(days)),
            ("Calibration", "on the diagonal, predictions equal observed rates",
             charts.calibration_figure(both.dropna(subset="label"), ["live", "evaluation"])),
        ]  # fmt: skip
    note = "with and without a label, against those of the evaluation"
    figures.append(("Predictions", note, charts.share_histogram("share of cases", {
        "evaluation": (reference["probability"], charts.ROLE_COLOURS["baseline"]),
        "live": (live["probability"], LIVE_COLOUR),
    })))  # fmt: skip
    if result["drift"]:
        note = "the features that moved most; the line marks each limit"
        if unmeasured := result["drift"].get("unmeasured"):
            note += f"; not measured: {', '.join(unmeasured)}"
        figures.append(("Drift", note, drift_figure(result["drift"])))
    return figures


def daily_cost_figure(days: pd.DataFrame, expected: float) -> Figure:
    """Plot the cost per 1,000 cases by day, against the evaluation's."""
    figure, axes = charts.new_axes("", "cost per 1,000 cases", dates=True)
    axes.bar(days["day"], days["cost_per_1000"], color=LIVE_COLOUR, width=0.8)
    axes.axhline(expected, color=charts.ROLE_COLOURS["champion"], linewidth=1.2, label="evaluation")
    axes.set_ylim(0, max(expected, days["cost_per_1000"].max()) * 1.2)
    charts.add_legend(axes, "upper left")
    return figure


def daily_rate_figure(days: pd.DataFrame) -> Figure:
    """Plot the mean prediction and the observed rate by day."""
    figure, axes = charts.new_axes("", "share of cases", dates=True)
    axes.plot(days["day"], days["mean_prediction"], color=LIVE_COLOUR, label="predicted")
    axes.plot(days["day"], days["base_rate"], color=charts.LABEL_COLOURS[1], label="observed")
    axes.set_ylim(0, days[["mean_prediction", "base_rate"]].max(axis=None) * 1.25)
    charts.add_legend(axes, "upper left")
    return figure


def drift_figure(drift: Mapping[str, Any], most: int = 12) -> Figure:
    """Plot the features that moved most, each as a multiple of its limit."""
    columns = {**drift["features"], "probability": drift["prediction"]}
    moved = pd.Series({name: each["score"] / each["limit"] for name, each in columns.items()})
    moved = moved.sort_values(ascending=False, kind="stable").head(most)
    figure, axes = charts.new_axes("distance, as a multiple of its limit", "")
    drifted, quiet = charts.LABEL_COLOURS[1], charts.ROLE_COLOURS["baseline"]
    axes.barh(moved.index, moved, color=np.where(moved >= 1, drifted, quiet), height=0.6)
    axes.axvline(1, color=charts.ROLE_COLOURS["champion"], linewidth=1.2)
    axes.invert_yaxis()
    return figure


def _metrics(result: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return each metric with its live value, interval and value in the evaluation."""
    live, expected = result["live"], result["expected"]
    if not live:
        return []
    intervals = {
        "cost_per_1000": _interval(live, "cost", ",.0f"), "bias": _interval(live, "bias", "+.3f"),
        "saving": _interval(live, "saving", "+.3f"),
    }  # fmt: skip
    return [
        (name.replace("_", " "),
         [_number(live.get(name)), intervals.get(name, ""), _number(expected.get(name))])
        for name in (*expected, "bias", "cost_without", "saving")
    ]  # fmt: skip


def _interval(row: Mapping[str, Any], name: str, form: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "–" if low is None else f"{low:{form}} to {high:{form}}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.3f}"
