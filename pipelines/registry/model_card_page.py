"""The model card as one HTML page with plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from monitoring.pages import charts
from monitoring.pages.layout import render_page
from pipelines.evaluation.formatting import format_limit, format_number, large_slices
from pipelines.registry import governance
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
    return render_page(
        "pipelines/registry/model_card_page.html.j2",
        name=name, facts=facts, governed=governed, prose=_render_markdown(prose), models=models,
        lineage=LINEAGE_TITLES, refit_note=REFIT_NOTE, figures=_figures(facts, scores, models),
        number=format_number, limit=format_limit, params=format_params,
    )  # fmt: skip


def _figures(
    facts: Mapping[str, Any], scores: pd.DataFrame, models: Sequence[str]
) -> list[tuple[str, str, Figure]]:
    measured = {model: facts["measured"][model] for model in models if model in scores}
    figures = [
        ("Calibration", "on the diagonal, predicted and observed rates agree",
         charts.calibration_figure(scores, list(measured))),
        ("ROC", "how well cases are ranked", charts.roc_figure(measured, scores, list(measured))),
        ("Feature importance", IMPORTANCE_CAPTION, charts.importance_figure(facts["importance"])),
    ]  # fmt: skip
    slices = large_slices(facts["slices"])
    figures += charts.slice_cost_figures(slices, models, "number of cases in brackets")
    return figures


def _render_markdown(text: str) -> str:
    from markdown_it import MarkdownIt

    return str(MarkdownIt("commonmark", {"html": False}).render(text))
