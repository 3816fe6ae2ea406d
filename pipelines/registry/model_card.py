"""The model card: the use case's text, then lineage and results of the version.

One template gives the card in Markdown, and with less detail the description in the registry. The
HTML page is the same Markdown with plots.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Any

import pandas as pd
import yaml
from markdown_it import MarkdownIt
from pydantic import BaseModel, Field, StringConstraints, ValidationError

from contract import UseCase
from monitoring.pages import charts
from monitoring.pages.layout import render_page
from pipelines.evaluation.formatting import (
    escape_cell,
    format_limit,
    format_number,
    large_slices,
    render_text,
)
from settings import LoopError

# Characters; MLflow on Postgres refuses a longer description.
MAX_DESCRIPTION_LENGTH = 5000
# The facts that reproduce the version, with their titles. All are required.
LINEAGE_TITLES = {
    "training_id": "training", "as_of": "as of", "data_until": "data until",
    "holdout_start": "evaluated on cases from", "dvc_md5_training": "md5 of the training set",
    "dvc_md5_validated": "md5 of the validated batches", "git_commit": "git commit",
    "code_sha256": "digest of the code",
    "lock_sha256": "sha256 of the lock file", "seed": "seed",
    "feast_registry_version": "feature definitions", "digest": "digest of the served form",
}  # fmt: skip
DESCRIPTION_FACTS = (*LINEAGE_TITLES, "candidate", "measured", "verdicts", "slices")
EXPLANATION_FACTS = ("tried", "intervals", "behaviours", "importance")
NonEmptyText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
IMPORTANCE_CAPTION = "Rise of the log-loss on unseen cases when a column is shuffled."


class Risk(BaseModel, extra="forbid"):
    """Who may be harmed, how, and what limits the harm."""

    harmed: NonEmptyText
    how: NonEmptyText
    limited_by: NonEmptyText


class Governance(BaseModel, extra="forbid"):
    """The front matter of the use case's card; every field is required."""

    owner: NonEmptyText
    contact: NonEmptyText
    purpose: NonEmptyText
    monitoring: list[NonEmptyText] = Field(min_length=1)
    risks: list[Risk] = Field(min_length=1)
    risks_approved_by: NonEmptyText
    risks_approved_at: date


def read_use_case_card(use_case: UseCase) -> str:
    """Return card.md: governance as front matter, then prose on use, data and limits."""
    return (use_case.folder / "card.md").read_text()


def parse_governance(text: str) -> tuple[Governance, str]:
    """Return the front matter of the card, and the prose after it.

    Raises `LoopError` with the names of missing or empty fields.
    """
    try:
        before, front, prose = text.split("---\n", 2)
        fields = yaml.safe_load(front)
        if before.strip() or not isinstance(fields, dict):
            raise ValueError("it must start with a mapping between two lines of ---")
        return Governance(**fields), prose.strip()
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
        )
        raise LoopError(
            f"The front matter of card.md is incomplete ({problems}). A version needs an "
            "owner, a contact, a purpose, a monitoring plan and approved risks. Add them."
        ) from error
    except (ValueError, yaml.YAMLError) as error:
        raise LoopError(f"The front matter of card.md can't be read: {error}") from error


def render_model_card(text: str, facts: Mapping[str, Any], *, short: bool = False) -> str:
    """Return the card in Markdown: the use case's `text`, then the facts of the version.

    `facts` has the lineage, `candidate`, `measured` (metrics by model), `verdicts`, `slices` (as in
    `gates.json`) and, unless `short`, those of `register.explanation_facts`. Raises
    `LoopError` if a fact is missing.
    """
    governed, prose = parse_governance(text)
    needed = DESCRIPTION_FACTS if short else (*DESCRIPTION_FACTS, *EXPLANATION_FACTS)
    if missing := [name for name in needed if facts.get(name) in (None, "", [], {})]:
        raise LoopError(
            f"The model card lacks {', '.join(missing)}. Without them no version is registered."
        )
    name = facts["candidate"]
    return render_text(
        "pipelines/registry/model_card.md.j2", escape_cell, name=name, facts=facts,
        governed=governed, prose=prose, short=short, others=_models(facts)[1:],
        slices=_weakest_and_strongest(facts["slices"], name), lineage=LINEAGE_TITLES,
        importance_caption=IMPORTANCE_CAPTION, number=format_number, limit=format_limit,
    )  # fmt: skip


def render_registry_description(text: str, facts: Mapping[str, Any]) -> str:
    """Return a short card for the registry, of at most `MAX_DESCRIPTION_LENGTH` characters.

    Raises `LoopError` if a fact is missing or the card is too long.
    """
    card = render_model_card(text, facts, short=True)
    if (excess := len(card) - MAX_DESCRIPTION_LENGTH) > 0:
        raise LoopError(
            f"The model card has {len(card):,} characters, but the registry allows "
            f"{MAX_DESCRIPTION_LENGTH:,}. Shorten the use case's card.md by {excess:,}."
        )
    return card


def render_model_card_page(card: str, facts: Mapping[str, Any], scores: pd.DataFrame) -> str:
    """Return `card` (Markdown) and its plots as HTML that loads no other file.

    `scores` has a column of holdout probabilities for each model.
    """
    models = _models(facts)
    measured = {model: facts["measured"][model] for model in models if model in scores}
    figures = [
        ("Calibration", "on the diagonal, predicted and observed rates agree",
         charts.calibration_figure(scores, list(measured))),
        ("ROC", "how well cases are ranked", charts.roc_figure(measured, scores, list(measured))),
        ("Feature importance", IMPORTANCE_CAPTION, charts.importance_figure(facts["importance"])),
        *charts.slice_cost_figures(
            large_slices(facts["slices"]), models, "number of cases in brackets"
        ),
    ]  # fmt: skip
    return render_page(
        "pipelines/registry/model_card.html.j2", name=facts["candidate"], figures=figures,
        card=MarkdownIt("commonmark", {"html": False}).enable("table").render(card),
    )  # fmt: skip


def _models(facts: Mapping[str, Any]) -> list[str]:
    return [
        each for each in (facts["candidate"], "baseline", "champion") if each in facts["measured"]
    ]


def _weakest_and_strongest(
    slices: Sequence[Mapping[str, Any]], name: str
) -> list[tuple[Mapping[str, Any], float]]:
    """Return the two large slices in which the model saves least of the baseline's cost, and most.

    Fewer than four large slices are all returned, each once.
    """
    rows = [
        (row, 1 - row[f"{name}_cost"] / row["baseline_cost"] if row["baseline_cost"] else 0.0)
        for row in large_slices(slices)
    ]
    rows.sort(key=lambda row: row[1])
    return rows[:2] + rows[2:][-2:]
