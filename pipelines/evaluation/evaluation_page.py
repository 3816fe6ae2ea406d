"""The HTML page of an evaluation: the outcome, then gates, plots and numbers."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from monitoring.pages import charts
from monitoring.pages.layout import render_page
from pipelines.evaluation.formatting import (
    describe_refusal,
    format_limit,
    format_number,
    large_slices,
)


def render_evaluation_page(
    metrics: charts.MetricsByModel, result: dict[str, Any], scores: pd.DataFrame
) -> str:
    """Return the page as HTML; the same evaluation gives the same bytes.

    The arguments are those that `evaluate_candidates` writes.
    """
    verdicts, columns = result["verdicts"], list(next(iter(metrics.values())))
    return render_page(
        "pipelines/evaluation/evaluation_page.html.j2",
        manifest=result["manifest"], winner=result["winner"], outcome=_outcome(metrics, result),
        candidates=list(verdicts), gates=list(zip(*verdicts.values(), strict=True)),
        figures=_figures(metrics, result, scores), metrics=metrics, columns=columns,
        slices=result["slices"], cost_heads=[f"cost of {name}" for name in metrics],
        number=format_number, limit=format_limit,
        time=lambda text: f"{pd.Timestamp(text):%Y-%m-%d %H:%M} UTC",
    )  # fmt: skip


def _outcome(metrics: charts.MetricsByModel, result: dict[str, Any]) -> dict[str, Any]:
    winner, items = result["winner"], []
    costs = {name: format_number(each["cost_per_1000"]) for name, each in metrics.items()}
    for name, verdicts in result["verdicts"].items():
        refused = [verdict for verdict in verdicts if not verdict["passed"]]
        items += [f"{name} is refused by {describe_refusal(verdict)}." for verdict in refused]
        if not refused and name != winner:
            items.append(f"{name} passed too; it costs {costs[name]} per 1,000 cases.")
    head, text = "No candidate passed.", "Nothing is registered."
    if winner is not None:
        head = f"{winner} passed every gate and wins."
        compared = [
            f"{_compare_costs(metrics, winner, other)} ({costs[other]})"
            for other in charts.ROLE_COLOURS if other in metrics
        ]  # fmt: skip
        text = f"It costs {costs[winner]} per 1,000 cases, {' and '.join(compared)}"
        text += "." if "champion" in metrics else "; there is no champion yet."
    return {"good": winner is not None, "head": head, "text": text, "items": items}


def _compare_costs(metrics: charts.MetricsByModel, name: str, other: str) -> str:
    own, theirs = (metrics[each]["cost_per_1000"] for each in (name, other))
    share = own / theirs - 1 if theirs else 0.0
    return f"{abs(share):.1%} {'above' if share > 0 else 'below'} the {other}"


def _figures(
    metrics: charts.MetricsByModel, result: dict[str, Any], scores: pd.DataFrame
) -> list[tuple[str, str, Figure]]:
    names = list(metrics)
    return [
        ("Cost", "of the decisions on the same cases", charts.cost_figure(metrics)),
        ("ROC", "how well cases are ranked", charts.roc_figure(metrics, scores, names)),
        ("Calibration", "on the diagonal, predicted and observed rates agree",
         charts.calibration_figure(scores, names)),
        *((f"Probabilities of {name}", "better when the two classes are further apart",
           charts.histogram_figure(scores, name)) for name in result["verdicts"]),
        *charts.slice_cost_figures(
            large_slices(result["slices"]), names,
            "cases in brackets; slices under 1% of them are in the table below",
        ),
    ]  # fmt: skip
