"""Figures of the monitoring page: cost, rates, predictions and drift of production."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from monitoring.pages import charts


def daily_cost_figure(days: pd.DataFrame, expected: float) -> Figure:
    """Plot the cost per 1,000 cases by day, against the evaluation's."""
    figure, axes = charts.new_axes("", "cost per 1,000 cases")
    axes.bar(days["day"], days["cost_per_1000"], color=charts.CANDIDATE_COLOURS[0], width=0.8)
    axes.axhline(expected, color=charts.ROLE_COLOURS["champion"], linewidth=1.2, label="evaluation")
    axes.set_ylim(0, max(expected, days["cost_per_1000"].max()) * 1.2)
    charts.add_legend(axes, "upper left")
    charts.format_dates(axes)
    return figure


def daily_rate_figure(days: pd.DataFrame) -> Figure:
    """Plot the mean prediction and the observed rate by day."""
    figure, axes = charts.new_axes("", "share of cases")
    axes.plot(
        days["day"], days["mean_prediction"], color=charts.CANDIDATE_COLOURS[0], label="predicted"
    )
    axes.plot(days["day"], days["base_rate"], color=charts.LABEL_COLOURS[1], label="observed")
    axes.set_ylim(0, max(days["mean_prediction"].max(), days["base_rate"].max()) * 1.25)
    charts.add_legend(axes, "upper left")
    charts.format_dates(axes)
    return figure


def prediction_histogram(live: pd.DataFrame, reference: pd.DataFrame) -> Figure:
    """Plot the distribution of the served probabilities, against the evaluation's."""
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


def drift_figure(drift: Mapping[str, Any], most: int = 12) -> Figure:
    """Plot the features that moved most, each as a multiple of its limit."""
    moved = {name: each["score"] / each["limit"] for name, each in drift["features"].items()}
    moved["probability"] = drift["prediction"]["score"] / drift["prediction"]["limit"]
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
