"""What did the evaluation find? One page, alone: the outcome, then gates, plots and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from features import durable_files
from monitoring.pages import charts
from monitoring.pages.layout import number_cells, render_document, render_table
from pipelines.evaluation.formatting import (
    describe_refusal,
    format_limit,
    format_number,
    large_slices,
)


def write_evaluation_page(
    path: Path, measured: dict[str, dict[str, float]], found: dict[str, Any], scores: pd.DataFrame
) -> None:
    """Writes the page to `path`; the same evaluation gives the same bytes."""
    durable_files.write_file(path, render_evaluation_page(measured, found, scores))


def render_evaluation_page(
    measured: dict[str, dict[str, float]], found: dict[str, Any], scores: pd.DataFrame
) -> str:
    """The page as HTML: `measured`, `found` and `scores` as `pipelines.evaluation.evaluate` has
    them.
    """
    manifest = found["manifest"]
    sections = [
        "<h1>Evaluation</h1>",
        f'<p class="soft">As of {_moment(manifest["as_of"])}. Fitted on {manifest["n_train"]:,} '
        f'cases, judged on the {manifest["n_holdout"]:,} decided since '
        f'{_moment(manifest["holdout_start"])}, which no candidate has seen.</p>',
        _outcome(measured, found),
        "<h2>Gates</h2>", _gates(found["verdicts"]),
        "<h2>Plots</h2>", _plots(measured, found, scores),
        "<h2>Metrics</h2>", _metrics(measured, found["winner"]),
        f"<details><summary>All {len(found['slices'])} slices in numbers</summary>",
        _slices(found["slices"], list(measured)), "</details>",
    ]  # fmt: skip
    return render_document("Evaluation", sections)


def _outcome(measured: dict[str, dict[str, float]], found: dict[str, Any]) -> str:
    winner, items = found["winner"], []
    for name, verdicts in found["verdicts"].items():
        refused = [verdict for verdict in verdicts if not verdict["passed"]]
        items += [f"{name} is refused by {describe_refusal(verdict)}." for verdict in refused]
        if not refused and name != winner:
            items.append(f"{name} passed too; it costs {_cost(measured, name)} per 1,000 cases.")
    if winner is None:
        kind, head, told = "none", "No candidate passed.", "Nothing is registered."
    else:
        kind, head = "one", f"{winner} passed every gate and wins."
        told = f"It costs {_cost(measured, winner)} per 1,000 cases, {_compared(measured, winner)}."
    listed = "".join(f"<li>{escape(item)}</li>" for item in items)
    return (
        f'<div class="outcome {kind}"><strong>{escape(head)}</strong><p>{escape(told)}</p>'
        + (f"<ul>{listed}</ul>" if listed else "") + "</div>"
    )  # fmt: skip


def _compared(measured: dict[str, dict[str, float]], name: str) -> str:
    parts = []
    for other in (role for role in charts.ROLE_COLOURS if role in measured):
        theirs = measured[other]["cost_per_1000"]
        share = measured[name]["cost_per_1000"] / theirs - 1 if theirs else 0.0
        told = f"{abs(share):.1%} {'above' if share > 0 else 'below'} the {other}"
        parts.append(f"{told} ({_cost(measured, other)})")
    return " and ".join(parts) + ("" if "champion" in measured else "; there is no champion yet")


def _cost(measured: dict[str, dict[str, float]], name: str) -> str:
    return format_number(measured[name]["cost_per_1000"])


def _gates(verdicts: dict[str, list[dict[str, Any]]]) -> str:
    rows = []
    for at, gate in enumerate(next(iter(verdicts.values()), [])):
        for place, (name, judged) in enumerate(verdicts.items()):
            each = judged[at]
            kind, mark = ("passed", "✓ passed") if each["passed"] else ("refused", "✗ refused")
            head = f'<th rowspan="{len(verdicts)}">{escape(gate["gate"])}</th>' if not place else ""
            rows.append(
                f'<tr class="{kind}">{head}<td>{escape(name)}</td><td class="mark">{mark}</td>'
                + number_cells(
                    [
                        format_number(each["value"]),
                        format_limit(each),
                        format_number(each["margin"], sign=True),
                    ]
                )
                + f'<td class="told soft">{escape(each["told"])}</td></tr>'
            )
    heads = ["gate", "candidate", "", "*value", "*limit", "*margin", "what was measured"]
    return render_table(heads, rows)


def _plots(
    measured: dict[str, dict[str, float]], found: dict[str, Any], scores: pd.DataFrame
) -> str:
    names, shown = list(measured), large_slices(found["slices"])
    plots = [
        _plot("Cost", "of the decisions on the same cases", charts.cost_figure(measured)),
        _plot("ROC", "how well alarms are ranked", charts.roc_figure(measured, scores, names)),
        _plot("Calibration", "on the diagonal, a probability means what it says",
              charts.calibration_figure(scores, names)),
    ]  # fmt: skip
    for name in found["verdicts"]:
        told = "apart is better; how sure the model is"
        plots.append(_plot(f"Probabilities of {name}", told, charts.histogram_figure(scores, name)))
    for kind in dict.fromkeys(row["slice"] for row in shown):
        rows = [row for row in shown if row["slice"] == kind]
        told = "cases in brackets; slices under 1% of them are in the table below"
        plots.append(_plot(f"Cost by {kind}", told, charts.slice_cost_figure(rows, names)))
    return f'<div class="plots">{"".join(plots)}</div>'


def _plot(title: str, told: str, figure: Figure) -> str:
    return (
        f"<figure><figcaption>{escape(title)} <small>{escape(told)}</small></figcaption>"
        f'<div role="img" aria-label="{escape(title)}: {escape(told)}">'
        f"{charts.figure_to_svg(figure, title)}</div></figure>"
    )


def _metrics(measured: dict[str, dict[str, float]], winner: str | None) -> str:
    columns = list(next(iter(measured.values())))
    rows = []
    for name, values in measured.items():
        told = f"<b>{escape(name)}</b>" if name == winner else escape(name)
        cells = number_cells(format_number(values[column]) for column in columns)
        rows.append(f"<tr><th>{told}</th>{cells}</tr>")
    return render_table(["model", *(f"*{column.replace('_', ' ')}" for column in columns)], rows)


def _slices(found: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    rows = []
    for row in found:
        values = [row["n"], row["base_rate"], *(row[f"{name}_cost"] for name in names)]
        told = f"<td>{escape(row['slice'])}</td><td>{escape(row['value'])}</td>"
        rows.append(f"<tr>{told}{number_cells(map(format_number, values))}</tr>")
    heads = ["slice", "value", "*cases", "*base rate", *(f"*cost of {name}" for name in names)]
    return render_table(heads, rows)


def _moment(text: str) -> str:
    return escape(f"{pd.Timestamp(text):%Y-%m-%d %H:%M} UTC")
