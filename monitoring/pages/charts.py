"""Figures of an evaluation, and the helpers that all figures share.

Colours mean roles: grey is the baseline, black the champion, any other colour a candidate.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from monitoring.measures import curves

MetricsByModel = Mapping[str, Mapping[str, float]]
CANDIDATE_COLOURS = ("#2563eb", "#d97706", "#7c3aed", "#0d9488", "#be185d", "#65a30d", "#92400e")
ROLE_COLOURS = {"baseline": "#94a3b8", "champion": "#0f172a"}
LABEL_COLOURS = {0: "#94a3b8", 1: "#dc2626"}
TEXT_COLOUR, GRID_COLOUR = "#334155", "#e2e8f0"
LEGEND = {"frameon": False, "fontsize": 9, "labelcolor": TEXT_COLOUR}


def evaluation_figures(
    measured: MetricsByModel, scores: pd.DataFrame, name: str
) -> dict[str, Figure]:
    """Return the figures of one model beside baseline and champion, by title, for tracking.

    `scores` holds cases by rows: `label` (0 or 1) and a column of probabilities per model.
    """
    others = [role for role in ROLE_COLOURS if role in scores and role != name]
    return {
        "roc": roc_figure(measured, scores, [*others, name]),
        "calibration": calibration_figure(scores, [*others, name]),
        "histogram": histogram_figure(scores, name),
    }


def model_colours(names: Sequence[str]) -> dict[str, str]:
    """Return a colour per model; a candidate's does not depend on whether there is a champion."""
    candidates = [name for name in names if name not in ROLE_COLOURS]
    colours = ROLE_COLOURS | dict(zip(candidates, cycle(CANDIDATE_COLOURS), strict=False))
    return {name: colours[name] for name in names}


def roc_figure(measured: MetricsByModel, scores: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Plot the share of alarms among cases of label 1 against that among cases of label 0."""
    figure, axes = new_axes("share of label 0 alarmed", "share of label 1 alarmed")
    axes.plot([0, 1], [0, 1], color=GRID_COLOUR, linewidth=1)
    for name, colour in model_colours(names).items():
        auc = measured.get(name, {}).get("auc")
        label = _plain(name) if auc is None else f"{_plain(name)}, AUC {auc:.3f}"
        curve = curves.roc_curve(scores, name)
        axes.plot(
            curve["false_positive_rate"], curve["true_positive_rate"], color=colour, label=label
        )
    axes.set(xlim=(0, 1), ylim=(0, 1.01))
    add_legend(axes, "lower right")
    return figure


def calibration_figure(scores: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Plot the observed rate against the mean prediction, in bins of equal size."""
    figure, axes = new_axes("mean prediction", "observed rate")
    top = 0.0
    for name, colour in model_colours(names).items():
        curve = curves.calibration_curve(scores, name)
        top = max(top, curve["predicted"].max(), curve["observed"].max())
        axes.plot(
            curve["predicted"], curve["observed"], color=colour, marker="o", markersize=4,
            label=_plain(name),
        )  # fmt: skip
    top = min(1.0, top * 1.08)
    axes.plot([0, top], [0, top], color=GRID_COLOUR, linewidth=1, zorder=0)
    axes.set(xlim=(0, top), ylim=(0, top))
    add_legend(axes, "upper left")
    return figure


def histogram_figure(scores: pd.DataFrame, name: str) -> Figure:
    """Plot the distribution of probabilities by label, as shares of the label's cases."""
    by_label = {label: scores.loc[scores["label"] == label, name] for label in LABEL_COLOURS}
    return share_histogram("share of the label's cases", {
        f"label {label} ({len(part):,})": (part, LABEL_COLOURS[label])
        for label, part in by_label.items()
    })  # fmt: skip


def share_histogram(y: str, parts: Mapping[str, tuple[pd.Series, str]]) -> Figure:
    """Plot the distribution of each part's probabilities in its colour, as shares of the part."""
    figure, axes = new_axes("probability", y)
    for label, (values, colour) in parts.items():
        weights = np.full(len(values), 1 / max(len(values), 1))
        axes.hist(
            values, bins=np.linspace(0, 1, 41).tolist(), weights=weights, color=colour,
            alpha=0.55, label=label,
        )  # fmt: skip
    axes.set_xlim(0, 1)
    add_legend(axes, "upper right")
    return figure


def cost_figure(measured: MetricsByModel) -> Figure:
    """Plot the cost per 1,000 cases of each model, as bars in the given order."""
    names = list(measured)
    values = [measured[name]["cost_per_1000"] for name in names]
    figure, axes = new_axes("cost per 1,000 cases", "", height=max(3.6, 0.7 + 0.42 * len(names)))
    bars = axes.barh(
        [_plain(n) for n in names], values, color=list(model_colours(names).values()), height=0.55
    )
    axes.bar_label(bars, labels=[f"{value:,.0f}" for value in values], padding=4, color=TEXT_COLOUR)
    axes.set_xlim(0, max(values) * 1.12 or 1)
    axes.invert_yaxis()
    axes.grid(visible=False)
    return figure


def slice_cost_figure(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Figure:
    """Plot the cost per 1,000 in each slice of one kind, a dot per model; largest slice on top."""
    ordered = sorted(rows, key=lambda row: -row["n"])
    figure, axes = new_axes("cost per 1,000 cases", "", height=0.9 + 0.27 * len(ordered))
    at = np.arange(len(ordered))
    costs = np.array([[row[f"{name}_cost"] for name in names] for row in ordered], dtype=float)
    axes.hlines(at, costs.min(axis=1), costs.max(axis=1), color=GRID_COLOUR, linewidth=3, zorder=1)
    for column, (name, colour) in enumerate(model_colours(names).items()):
        # The champion is a ring, so that a model of the same cost is visible inside it.
        size, fill = (80, "none") if name == "champion" else (30, colour)
        axes.scatter(
            costs[:, column], at, s=size, facecolor=fill, edgecolor=colour, linewidth=1.5,
            zorder=2, label=_plain(name),
        )  # fmt: skip
    axes.set_yticks(at, [f"{_plain(row['value'])}  ({row['n']:,})" for row in ordered])
    axes.set_ylim(len(ordered) - 0.4, -0.6)
    figure.legend(loc="outside upper left", ncols=2, **LEGEND)
    return figure


def slice_cost_figures(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], note: str
) -> list[tuple[str, str, Figure]]:
    """Return a titled figure of the cost for each kind of slice in `rows`."""
    kinds = dict.fromkeys(row["slice"] for row in rows)
    return [
        (f"Cost by {kind}", note,
         slice_cost_figure([row for row in rows if row["slice"] == kind], names))
        for kind in kinds
    ]  # fmt: skip


def importance_figure(importance: Mapping[str, float], largest: int = 15) -> Figure:
    """Plot by how much the log-loss rises when a column is shuffled; largest on top."""
    names = list(importance)[:largest][::-1]
    figure, axes = new_axes("rise of the log-loss", "", height=0.8 + 0.26 * len(names))
    axes.barh(names, [importance[name] for name in names], color=CANDIDATE_COLOURS[0])
    return figure


def new_axes(
    x: str, y: str, height: float = 3.6, width: float = 4.8, *, dates: bool = False
) -> tuple[Figure, Axes]:
    """Return a figure of this size in inches and its empty axes; `dates`: along the x axis."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x, color=TEXT_COLOUR, fontsize=9)
    axes.set_ylabel(y, color=TEXT_COLOUR, fontsize=9)
    axes.tick_params(colors=TEXT_COLOUR, labelsize=9, length=0)
    axes.grid(color=GRID_COLOUR, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    if dates:
        locator = AutoDateLocator(minticks=3, maxticks=8)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    return figure, axes


def add_legend(axes: Axes, place: str, **options: Any) -> None:
    axes.legend(**{"loc": place, **LEGEND, **options})


def _plain(text: object) -> str:
    """Escape the text for matplotlib, which takes `$` for a formula."""
    return str(text).replace("$", r"\$")
