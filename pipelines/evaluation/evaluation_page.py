"""The HTML page of an evaluation: the outcome, then gates, plots and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from features import durable_files
from monitoring.pages import charts
from monitoring.pages.layout import render_page
from pipelines.evaluation.formatting import (
    describe_refusal,
    format_limit,
    format_number,
    large_slices,
)  # fmt: skip


def write_evaluation_page(
    path: Path, metrics: dict[str, dict[str, float]], result: dict[str, Any], scores: pd.DataFrame
) -> None:
    """Write the page to `path`; the same evaluation gives the same bytes."""
    durable_files.write_file(path, render_evaluation_page(metrics, result, scores))


def render_evaluation_page(
    metrics: dict[str, dict[str, float]], result: dict[str, Any], scores: pd.DataFrame
) -> str:
    """Return the page as HTML; the arguments are those that `evaluate_candidates` writes."""
    verdicts, columns = result["verdicts"], list(next(iter(metrics.values())))
    return render_page(
        "pipelines/evaluation/evaluation_page.html.j2",
        manifest=result["manifest"], winner=result["winner"], outcome=_outcome(metrics, result),
        candidates=list(verdicts), gates=list(zip(*verdicts.values(), strict=True)),
        figures=_figures(metrics, result, scores), metrics=metrics, columns=columns,
        slices=result["slices"], cost_heads=[f"cost of {name}" for name in metrics],
        number=format_number, limit=format_limit, time=_time,
    )  # fmt: skip


def _outcome(metrics: dict[str, dict[str, float]], result: dict[str, Any]) -> dict[str, Any]:
    winner, items = result["winner"], []
    for name, verdicts in result["verdicts"].items():
        refused = [verdict for verdict in verdicts if not verdict["passed"]]
        items += [f"{name} is refused by {describe_refusal(verdict)}." for verdict in refused]
        if not refused and name != winner:
            items.append(f"{name} passed too; it costs {_cost(metrics, name)} per 1,000 cases.")
    if winner is None:
        head, text = "No candidate passed.", "Nothing is registered."
    else:
        head = f"{winner} passed every gate and wins."
        compared = _compare_costs(metrics, winner)
        text = f"It costs {_cost(metrics, winner)} per 1,000 cases, {compared}."
    return {"good": winner is not None, "head": head, "text": text, "items": items}


def _compare_costs(metrics: dict[str, dict[str, float]], name: str) -> str:
    parts = []
    for other in (role for role in charts.ROLE_COLOURS if role in metrics):
        theirs = metrics[other]["cost_per_1000"]
        share = metrics[name]["cost_per_1000"] / theirs - 1 if theirs else 0.0
        text = f"{abs(share):.1%} {'above' if share > 0 else 'below'} the {other}"
        parts.append(f"{text} ({_cost(metrics, other)})")
    return " and ".join(parts) + ("" if "champion" in metrics else "; there is no champion yet")


def _cost(metrics: dict[str, dict[str, float]], name: str) -> str:
    return format_number(metrics[name]["cost_per_1000"])


def _figures(
    metrics: dict[str, dict[str, float]], result: dict[str, Any], scores: pd.DataFrame
) -> list[tuple[str, str, Figure]]:
    names, slices = list(metrics), large_slices(result["slices"])
    figures = [
        ("Cost", "of the decisions on the same cases", charts.cost_figure(metrics)),
        ("ROC", "how well cases are ranked", charts.roc_figure(metrics, scores, names)),
        ("Calibration", "on the diagonal, predicted and observed rates agree",
         charts.calibration_figure(scores, names)),
    ]  # fmt: skip
    for name in result["verdicts"]:
        caption = "better when the two classes are further apart"
        figures.append((f"Probabilities of {name}", caption, charts.histogram_figure(scores, name)))
    caption = "cases in brackets; slices under 1% of them are in the table below"
    figures += charts.slice_cost_figures(slices, names, caption)
    return figures


def _time(text: str) -> str:
    return f"{pd.Timestamp(text):%Y-%m-%d %H:%M} UTC"
