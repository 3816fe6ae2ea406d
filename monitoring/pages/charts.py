"""How do models compare in pictures? Figures of an evaluation, from frames and metrics.

Colours mean roles: grey is the baseline, black the champion, and a colour is a candidate.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Measured = Mapping[str, Mapping[str, float]]
CANDIDATES = ("#2563eb", "#d97706", "#7c3aed", "#0d9488", "#be185d", "#65a30d", "#92400e")
ROLES = {"baseline": "#94a3b8", "champion": "#0f172a"}
LABELS = {0: "#94a3b8", 1: "#dc2626"}
INK, FAINT = "#334155", "#e2e8f0"


def figures(measured: Measured, scores: pd.DataFrame, name: str) -> dict[str, Figure]:
    """The plots of one model, beside baseline and champion: by title, for tracking.

    `scores` holds cases by rows: `label` (0 or 1) and a column of probabilities per model.
    """
    others = [role for role in ROLES if role in scores and role != name]
    return {
        "roc": roc(measured, scores, [*others, name]),
        "calibration": calibration(scores, [*others, name]),
        "histogram": histogram(scores, name),
    }


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour per model; candidates keep theirs whether or not there is a champion."""
    candidates = [name for name in names if name not in ROLES]
    chosen = {name: CANDIDATES[at % len(CANDIDATES)] for at, name in enumerate(candidates)}
    return {name: ROLES.get(name, chosen.get(name, INK)) for name in names}


def roc(measured: Measured, scores: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Share of alarms among cases of label 1 against that among cases of label 0."""
    from sklearn.metrics import roc_curve

    figure, axes = axes_of("share of label 0 alarmed", "share of label 1 alarmed")
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1)
    for name, colour in colours(names).items():
        x, y, _ = roc_curve(scores["label"], scores[name])
        at = np.unique(np.linspace(0, len(x) - 1, 200).astype(int))
        auc = measured.get(name, {}).get("auc")
        label = _plain(name) if auc is None else f"{_plain(name)}, AUC {auc:.3f}"
        axes.plot(x[at], y[at], color=colour, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1.01))
    legend(axes, "lower right")
    return figure


def calibration(scores: pd.DataFrame, names: Sequence[str], bins: int = 10) -> Figure:
    """Observed rate against mean prediction, in bins of as many cases each."""
    from sklearn.calibration import calibration_curve

    figure, axes = axes_of("mean prediction", "observed rate")
    top = 0.0
    for name, colour in colours(names).items():
        known = scores[["label", name]].dropna()
        observed, predicted = calibration_curve(
            known["label"], known[name], n_bins=bins, strategy="quantile"
        )
        top = max(top, observed.max(), predicted.max())
        axes.plot(predicted, observed, color=colour, marker="o", markersize=4, label=_plain(name))
    top = min(1.0, top * 1.08)
    axes.plot([0, top], [0, top], color=FAINT, linewidth=1, zorder=0)
    axes.set(xlim=(0, top), ylim=(0, top))
    legend(axes, "upper left")
    return figure


def histogram(scores: pd.DataFrame, name: str) -> Figure:
    """Probabilities by label, each as shares of that label's cases."""
    figure, axes = axes_of("probability", "share of the label's cases")
    for label, colour in LABELS.items():
        part = scores.loc[scores["label"] == label, name]
        weights = np.full(len(part), 1 / max(len(part), 1))
        axes.hist(
            part, bins=np.linspace(0, 1, 41).tolist(), weights=weights, color=colour,
            alpha=0.55, label=f"label {label} ({len(part):,})",
        )  # fmt: skip
    axes.set_xlim(0, 1)
    legend(axes, "upper right")
    return figure


def cost(measured: Measured) -> Figure:
    """Cost per 1,000 cases of each model, as bars in the order given."""
    names = list(measured)
    values = [measured[name]["cost_per_1000"] for name in names]
    figure, axes = axes_of("cost per 1,000 cases", "", height=max(3.6, 0.7 + 0.42 * len(names)))
    bars = axes.barh(
        [_plain(n) for n in names], values, color=list(colours(names).values()), height=0.55
    )
    axes.bar_label(bars, labels=[f"{value:,.0f}" for value in values], padding=4, color=INK)
    axes.set_xlim(0, max(values) * 1.12 or 1)
    axes.invert_yaxis()
    axes.grid(visible=False)
    return figure


def slices(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Figure:
    """Cost per 1,000 in each slice of one kind, a dot per model; the largest slice on top."""
    ordered = sorted(rows, key=lambda row: -row["n"])
    figure, axes = axes_of("cost per 1,000 cases", "", height=0.9 + 0.27 * len(ordered))
    at = np.arange(len(ordered))
    costs = np.array([[row[f"{name}_cost"] for name in names] for row in ordered], dtype=float)
    axes.hlines(at, costs.min(axis=1), costs.max(axis=1), color=FAINT, linewidth=3, zorder=1)
    for column, (name, colour) in enumerate(colours(names).items()):
        # The champion is a ring: whatever lies at the same cost is seen inside it.
        size, fill = (80, "none") if name == "champion" else (30, colour)
        axes.scatter(
            costs[:, column], at, s=size, facecolor=fill, edgecolor=colour, linewidth=1.5,
            zorder=2, label=_plain(name),
        )  # fmt: skip
    axes.set_yticks(at, [f"{_plain(row['value'])}  ({row['n']:,})" for row in ordered])
    axes.set_ylim(len(ordered) - 0.4, -0.6)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=9, labelcolor=INK)
    return figure


def importance(found: Mapping[str, float], largest: int = 15) -> Figure:
    """By how much the log-loss rises when a column is shuffled; the largest at the top."""
    names = list(found)[:largest][::-1]
    figure, axes = axes_of("rise of the log-loss", "", height=0.8 + 0.26 * len(names))
    axes.barh(names, [found[name] for name in names], color=CANDIDATES[0])
    return figure


def svg(figure: Figure, name: str) -> str:
    """The figure as an SVG element for a page; text stays text, in the page's font.

    The same figure gives the same bytes, so that a report is the same whenever it is made. `name`
    keeps the ids of the figures of one page apart.
    """
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    # Names of groups repeat from figure to figure, and nothing refers to them.
    return re.sub(r'<g id="[^"]*"', "<g", text[text.index("<svg") :])


def axes_of(x: str, y: str, height: float = 3.6) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.8, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x, color=INK, fontsize=9)
    axes.set_ylabel(y, color=INK, fontsize=9)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    return figure, axes


def legend(axes: Axes, place: str) -> None:
    axes.legend(loc=place, frameon=False, fontsize=9, labelcolor=INK)


def _plain(text: object) -> str:
    """Text in which matplotlib finds no formula."""
    return str(text).replace("$", r"\$")
