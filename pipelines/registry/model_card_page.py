"""The model card as one page that loads nothing: who answers for it, what it does, with plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

from monitoring.pages import charts
from monitoring.pages.layout import number_cells, render_document, render_table
from pipelines.evaluation.formatting import format_limit, format_number, large_slices
from pipelines.registry import governance
from pipelines.registry.model_card import IMPORTANCE_CAPTION, LINEAGE_TITLES, REFIT_NOTE


def render_model_card_page(text: str, facts: Mapping[str, Any], scores: pd.DataFrame) -> str:
    """The card as HTML: `text` and `facts` as `pipelines.registry.model_card` has them, `scores`
    by model.
    """
    owned, prose = governance.parse_governance(text)
    name, measured = facts["candidate"], facts["measured"]
    models = [model for model in (name, "baseline", "champion") if model in measured]
    sections = [
        f"<h1>Model card: {escape(name)}</h1>",
        f'<p class="soft">{escape(owned.purpose)}</p>',
        _rows(
            ["", ""],
            [
                ["owner", owned.owner],
                ["contact", owned.contact],
                ["risks approved", f"{owned.risks_approved_by}, {owned.risks_approved_at}"],
            ],
        ),
        _prose(prose),
        "<h2>Risks, as approved</h2>",
        _rows(
            ["who may be harmed", "how", "what limits it"],
            [[each.harmed, each.how, each.limited_by] for each in owned.risks],
        ),
        "<h2>Monitoring plan</h2>",
        _items(owned.monitoring),
        "<h2>This version</h2>",
        f"<p>{escape(REFIT_NOTE)}</p>",
        _rows(["", ""], [[title, str(facts[fact])] for fact, title in LINEAGE_TITLES.items()]),
        "<h2>Candidates tried</h2>",
        _rows(
            ["candidate", "*draws", "chosen", "*cost per 1,000"],
            [
                [
                    each,
                    format_number(tried["draws"]),
                    _given(tried["params"]),
                    format_number(measured[each]["cost_per_1000"]),
                ]
                for each, tried in facts["tried"].items()
            ],
        ),
        "<h2>Metrics</h2>",
        _metrics(facts, models),
        f'<div class="plots">{"".join(_plots(facts, scores, models))}</div>',
        "<h2>Gates</h2>",
        _gates(facts["verdicts"]),
        "<h2>Behaviours</h2>",
        _rows(
            ["behaviour", "", "*value", "*limit"],
            [
                [
                    told,
                    "holds" if each["passed"] else "FAILS",
                    format_number(each["value"]),
                    format_limit(each),
                ]
                for told, each in facts["behaviours"].items()
            ],
        ),
    ]
    return render_document(f"Model card: {name}", sections)


def _metrics(facts: Mapping[str, Any], models: Sequence[str]) -> str:
    rows = []
    for metric, value in facts["measured"][models[0]].items():
        bounds = facts["intervals"].get(metric)
        told = f"{format_number(bounds[0])} to {format_number(bounds[1])}" if bounds else ""
        others = [format_number(facts["measured"][model][metric]) for model in models[1:]]
        rows.append([metric.replace("_", " "), format_number(value), told, *others])
    return _rows(["metric", f"*{models[0]}", "*90% interval", *(f"*{m}" for m in models[1:])], rows)


def _plots(facts: Mapping[str, Any], scores: pd.DataFrame, models: Sequence[str]) -> list[str]:
    measured = {model: facts["measured"][model] for model in models if model in scores}
    figures = [
        ("Calibration", "on the diagonal, a probability means what it says",
         charts.calibration_figure(scores, list(measured))),
        ("ROC", "how well alarms are ranked", charts.roc_figure(measured, scores, list(measured))),
        ("What drives it", IMPORTANCE_CAPTION, charts.importance_figure(facts["importance"])),
    ]  # fmt: skip
    shown = large_slices(facts["slices"])
    for kind in dict.fromkeys(row["slice"] for row in shown):
        rows = [row for row in shown if row["slice"] == kind]
        figures.append(
            (f"Cost by {kind}", "cases in brackets", charts.slice_cost_figure(rows, models))
        )
    return [
        f"<figure><figcaption>{escape(title)} <small>{escape(told)}</small></figcaption>"
        f"{charts.figure_to_svg(figure, title)}</figure>"
        for title, told, figure in figures
    ]


def _gates(verdicts: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        f'<tr class="{"passed" if each["passed"] else "refused"}"><th>{escape(each["gate"])}</th>'
        f'<td class="mark">{"✓ passed" if each["passed"] else "✗ refused"}</td>'
        + number_cells([format_number(each["value"]), format_limit(each)])
        + f'<td class="told soft">{escape(each["told"])}</td></tr>'
        for each in verdicts
    ]
    return render_table(["gate", "", "*value", "*limit", "what was measured"], rows)


def _rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
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


def _prose(text: str) -> str:
    """The Markdown that a card needs: headings, lists, paragraphs, bold."""
    from markdown_it import MarkdownIt

    return str(MarkdownIt("commonmark", {"html": False}).render(text))


def _items(items: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _given(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in params.items())
