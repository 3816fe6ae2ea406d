"""The HTML page of an evaluation: the outcome, then gates, plots and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from features import durable_files
from monitoring.pages import charts, figure_markup
from monitoring.pages.layout import number_cells, render_document, render_table
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
    manifest = result["manifest"]
    sections = [
        "<h1>Evaluation</h1>",
        f'<p class="soft">As of {_time(manifest["as_of"])}. Fitted on {manifest["n_train"]:,} '
        f'cases, evaluated on the {manifest["n_holdout"]:,} decided since '
        f'{_time(manifest["holdout_start"])}, which no candidate has seen.</p>',
        _outcome_box(metrics, result),
        "<h2>Gates</h2>", _gate_table(result["verdicts"]),
        "<h2>Plots</h2>", _plots(metrics, result, scores),
        "<h2>Metrics</h2>", _metric_table(metrics, result["winner"]),
        f"<details><summary>All {len(result['slices'])} slices in numbers</summary>",
        _slice_table(result["slices"], list(metrics)), "</details>",
    ]  # fmt: skip
    return render_document("Evaluation", sections)


def _outcome_box(metrics: dict[str, dict[str, float]], result: dict[str, Any]) -> str:
    winner, items = result["winner"], []
    for name, verdicts in result["verdicts"].items():
        refused = [verdict for verdict in verdicts if not verdict["passed"]]
        items += [f"{name} is refused by {describe_refusal(verdict)}." for verdict in refused]
        if not refused and name != winner:
            items.append(f"{name} passed too; it costs {_cost(metrics, name)} per 1,000 cases.")
    if winner is None:
        kind, head, text = "none", "No candidate passed.", "Nothing is registered."
    else:
        kind, head = "one", f"{winner} passed every gate and wins."
        compared = _compare_costs(metrics, winner)
        text = f"It costs {_cost(metrics, winner)} per 1,000 cases, {compared}."
    listed = "".join(f"<li>{escape(item)}</li>" for item in items)
    return (
        f'<div class="outcome {kind}"><strong>{escape(head)}</strong><p>{escape(text)}</p>'
        + (f"<ul>{listed}</ul>" if listed else "") + "</div>"
    )  # fmt: skip


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


def _gate_table(verdicts: dict[str, list[dict[str, Any]]]) -> str:
    rows = []
    for position, gate in enumerate(next(iter(verdicts.values()), [])):
        for row, (name, judged) in enumerate(verdicts.items()):
            each = judged[position]
            kind, mark = ("passed", "✓ passed") if each["passed"] else ("refused", "✗ refused")
            head = f'<th rowspan="{len(verdicts)}">{escape(gate["gate"])}</th>' if not row else ""
            rows.append(
                f'<tr class="{kind}">{head}<td>{escape(name)}</td><td class="mark">{mark}</td>'
                + number_cells([format_number(each["value"]), format_limit(each),
                                format_number(each["margin"], sign=True)])
                + f'<td class="told soft">{escape(each["told"])}</td></tr>'
            )  # fmt: skip
    heads = ["gate", "candidate", "", "*value", "*limit", "*margin", "what was measured"]
    return render_table(heads, rows)


def _plots(
    metrics: dict[str, dict[str, float]], result: dict[str, Any], scores: pd.DataFrame
) -> str:
    names, slices = list(metrics), large_slices(result["slices"])
    figures = [
        ("Cost", "of the decisions on the same cases", charts.cost_figure(metrics)),
        ("ROC", "how well alarms are ranked", charts.roc_figure(metrics, scores, names)),
        ("Calibration", "on the diagonal, a probability means what it says",
         charts.calibration_figure(scores, names)),
    ]  # fmt: skip
    for name in result["verdicts"]:
        note = "better when the two classes are further apart"
        figures.append((f"Probabilities of {name}", note, charts.histogram_figure(scores, name)))
    note = "cases in brackets; slices under 1% of them are in the table below"
    figures += charts.slice_cost_figures(slices, names, note)
    return figure_markup.figure_grid(figures)


def _metric_table(metrics: dict[str, dict[str, float]], winner: str | None) -> str:
    columns = list(next(iter(metrics.values())))
    rows = []
    for name, values in metrics.items():
        heading = f"<b>{escape(name)}</b>" if name == winner else escape(name)
        cells = number_cells(format_number(values[column]) for column in columns)
        rows.append(f"<tr><th>{heading}</th>{cells}</tr>")
    return render_table(["model", *(f"*{column.replace('_', ' ')}" for column in columns)], rows)


def _slice_table(slices: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    rows = []
    for row in slices:
        values = [row["n"], row["base_rate"], *(row[f"{name}_cost"] for name in names)]
        cells = f"<td>{escape(row['slice'])}</td><td>{escape(row['value'])}</td>"
        rows.append(f"<tr>{cells}{number_cells(map(format_number, values))}</tr>")
    heads = ["slice", "value", "*cases", "*base rate", *(f"*cost of {name}" for name in names)]
    return render_table(heads, rows)


def _time(text: str) -> str:
    return escape(f"{pd.Timestamp(text):%Y-%m-%d %H:%M} UTC")
