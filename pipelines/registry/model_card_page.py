"""The model card as one HTML page with plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

from monitoring.pages import charts, figure_markup
from monitoring.pages.layout import number_cells, render_document, render_table
from pipelines.evaluation.formatting import format_limit, format_number, large_slices
from pipelines.registry import governance
from pipelines.registry.governance import Governance
from pipelines.registry.model_card import (
    IMPORTANCE_CAPTION,
    LINEAGE_TITLES,
    REFIT_NOTE,
    format_params,
)


def render_model_card_page(text: str, facts: Mapping[str, Any], scores: pd.DataFrame) -> str:
    """Return the card as HTML that loads no other file.

    `text` and `facts` as in `model_card.render_model_card`; `scores` has a column of holdout
    probabilities for each model.
    """
    governed, prose = governance.parse_governance(text)
    name, measured = facts["candidate"], facts["measured"]
    models = [model for model in (name, "baseline", "champion") if model in measured]
    sections = [
        f"<h1>Model card: {escape(name)}</h1>",
        *_governance_sections(governed, prose),
        "<h2>This version</h2>", f"<p>{escape(REFIT_NOTE)}</p>",
        _table(["", ""], [[title, str(facts[fact])] for fact, title in LINEAGE_TITLES.items()]),
        "<h2>Candidates tried</h2>",
        _table(["candidate", "*draws", "chosen", "*cost per 1,000"],
               [[each, format_number(tried["draws"]), format_params(tried["params"]),
                 format_number(measured[each]["cost_per_1000"])]
                for each, tried in facts["tried"].items()]),
        "<h2>Metrics</h2>", _metrics(facts, models),
        _plots(facts, scores, models),
        "<h2>Gates</h2>", _gates(facts["verdicts"]),
        "<h2>Behaviours</h2>",
        _table(["behaviour", "", "*value", "*limit"],
               [[behaviour, "holds" if each["passed"] else "FAILS", format_number(each["value"]),
                 format_limit(each)]
                for behaviour, each in facts["behaviours"].items()]),
    ]  # fmt: skip
    return render_document(f"Model card: {name}", sections)


def _governance_sections(governed: Governance, prose: str) -> list[str]:
    approved = f"{governed.risks_approved_by}, {governed.risks_approved_at}"
    return [
        f'<p class="soft">{escape(governed.purpose)}</p>',
        _table(["", ""], [["owner", governed.owner], ["contact", governed.contact],
                          ["risks approved", approved]]),
        _render_markdown(prose),
        "<h2>Risks, as approved</h2>",
        _table(["who may be harmed", "how", "what limits it"],
               [[each.harmed, each.how, each.limited_by] for each in governed.risks]),
        "<h2>Monitoring plan</h2>",
        "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in governed.monitoring) + "</ul>",
    ]  # fmt: skip


def _metrics(facts: Mapping[str, Any], models: Sequence[str]) -> str:
    rows = []
    for metric, value in facts["measured"][models[0]].items():
        bounds = facts["intervals"].get(metric)
        interval = f"{format_number(bounds[0])} to {format_number(bounds[1])}" if bounds else ""
        others = [format_number(facts["measured"][model][metric]) for model in models[1:]]
        rows.append([metric.replace("_", " "), format_number(value), interval, *others])
    return _table(
        ["metric", f"*{models[0]}", "*90% interval", *(f"*{m}" for m in models[1:])], rows
    )


def _plots(facts: Mapping[str, Any], scores: pd.DataFrame, models: Sequence[str]) -> str:
    measured = {model: facts["measured"][model] for model in models if model in scores}
    figures = [
        ("Calibration", "on the diagonal, predicted and observed rates agree",
         charts.calibration_figure(scores, list(measured))),
        ("ROC", "how well cases are ranked", charts.roc_figure(measured, scores, list(measured))),
        ("Feature importance", IMPORTANCE_CAPTION, charts.importance_figure(facts["importance"])),
    ]  # fmt: skip
    slices = large_slices(facts["slices"])
    figures += charts.slice_cost_figures(slices, models, "number of cases in brackets")
    return figure_markup.figure_grid(figures)


def _gates(verdicts: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        f'<tr class="{"passed" if each["passed"] else "refused"}"><th>{escape(each["gate"])}</th>'
        f'<td class="mark">{"✓ passed" if each["passed"] else "✗ refused"}</td>'
        + number_cells([format_number(each["value"]), format_limit(each)])
        + f'<td class="told soft">{escape(each["told"])}</td></tr>'
        for each in verdicts
    ]
    return render_table(["gate", "", "*value", "*limit", "measurement"], rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    kinds = [' class="number"' if head.startswith("*") else "" for head in heads]
    return render_table(
        heads,
        [
            "<tr>" + "".join(
                f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)
            ) + "</tr>"
            for row in rows
        ],
    )  # fmt: skip


def _render_markdown(text: str) -> str:
    from markdown_it import MarkdownIt

    return str(MarkdownIt("commonmark", {"html": False}).render(text))
