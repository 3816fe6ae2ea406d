"""The model card in Markdown: the use case's text, then lineage and results of the version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.evaluation.formatting import (
    format_limit,
    format_number,
    large_slices,
    markdown_table,
)
from pipelines.registry import governance
from pipelines.registry.governance import Governance
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
IMPORTANCE_CAPTION = "Rise of the log-loss on unseen cases when a column is shuffled."
REFIT_NOTE = "Evaluated on unseen cases, then refitted on all cases: the metrics precede the refit."


def read_use_case_card() -> str:
    """Return usecase/card.md: governance as front matter, then prose on use, data and limits."""
    return (Path(__file__).resolve().parents[2] / "usecase" / "card.md").read_text()


def render_model_card(text: str, facts: Mapping[str, Any]) -> str:
    """Return the whole card in Markdown: the use case's `text`, then the facts of the version.

    `facts` has the lineage, `candidate`, `measured` (metrics by model), `verdicts`, `slices` (as in
    `gates.json`) and the facts of `pipelines.registry.explanations`. Raises `LoopError` if a fact
    is missing.
    """
    governed, prose = governance.parse_governance(text)
    _require_facts(facts, (*DESCRIPTION_FACTS, *EXPLANATION_FACTS))
    sections = [
        *_head(governed, prose, facts),
        "## Candidates tried", _tried(facts),
        "## Metrics", *_metrics(facts),
        "## Gates", _gates(facts["verdicts"]),
        "## Behaviours", _behaviours(facts["behaviours"]),
        "## Feature importance", IMPORTANCE_CAPTION, _importance(facts["importance"]),
        "## Slices against the baseline", _slices(facts["slices"], facts["candidate"]),
        "## Risks, as approved", _risks(governed),
        "## Monitoring plan", "\n".join(f"- {each}" for each in governed.monitoring),
    ]  # fmt: skip
    return "\n\n".join(sections) + "\n"


def render_registry_description(text: str, facts: Mapping[str, Any]) -> str:
    """Return a short card for the registry, of at most `MAX_DESCRIPTION_LENGTH` characters.

    Raises `LoopError` if a fact is missing or the card is too long.
    """
    governed, prose = governance.parse_governance(text)
    _require_facts(facts, DESCRIPTION_FACTS)
    passed = sum(each["passed"] for each in facts["verdicts"])
    sections = [
        *_head(governed, prose, facts), "## Metrics", *_metrics(facts),
        "## Gates", f"{passed} of {len(facts['verdicts'])} passed.",
        "## Slices against the baseline", _slices(facts["slices"], facts["candidate"]),
        "Gates, behaviours, importance, risks and plots: `card.html`, among the run's artifacts.",
    ]  # fmt: skip
    card = "\n\n".join(sections) + "\n"
    if len(card) > MAX_DESCRIPTION_LENGTH:
        raise LoopError(
            f"The model card has {len(card):,} characters, but the registry allows "
            f"{MAX_DESCRIPTION_LENGTH:,}. Shorten usecase/card.md by "
            f"{len(card) - MAX_DESCRIPTION_LENGTH:,}."
        )
    return card


def _require_facts(facts: Mapping[str, Any], needed: Sequence[str]) -> None:
    if missing := [name for name in needed if facts.get(name) in (None, "", [], {})]:
        raise LoopError(
            f"The model card lacks {', '.join(missing)}. Without them no version is registered."
        )


def _head(governed: Governance, prose: str, facts: Mapping[str, Any]) -> list[str]:
    lineage = [[title, f"`{_short(facts[fact])}`"] for fact, title in LINEAGE_TITLES.items()]
    approved = f"{governed.risks_approved_by}, {governed.risks_approved_at}"
    return [
        f"# Model card: {facts['candidate']}", governed.purpose,
        f"**Owner:** {governed.owner}. **Contact:** {governed.contact}. **Risks approved by:** "
        f"{approved}.",
        prose, "## This version", REFIT_NOTE, markdown_table(["fact", "value"], lineage),
    ]  # fmt: skip


def _metrics(facts: Mapping[str, Any]) -> list[str]:
    name, measured = facts["candidate"], facts["measured"]
    models = [model for model in (name, "baseline", "champion") if model in measured]
    intervals = facts.get("intervals", {})
    rows = []
    for metric in measured[name]:
        low, high = intervals.get(metric, (None, None))
        interval = "" if low is None else f"{format_number(low)} to {format_number(high)}"
        values = [format_number(measured[model][metric]) for model in models]
        rows.append([metric.replace("_", " "), values[0], interval, *values[1:]])
    return [markdown_table(["metric", models[0], "90% interval", *models[1:]], rows)]


def _tried(facts: Mapping[str, Any]) -> str:
    rows = [
        [name, format_number(each["draws"]), format_params(each["params"]),
         format_number(facts["measured"][name]["cost_per_1000"])]
        for name, each in facts["tried"].items()
    ]  # fmt: skip
    return markdown_table(["candidate", "draws", "chosen", "cost per 1,000"], rows)


def format_params(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in params.items())


def _behaviours(behaviours: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [name, "holds" if each["passed"] else "FAILS", format_number(each["value"]),
         format_limit(each)]
        for name, each in behaviours.items()
    ]  # fmt: skip
    return markdown_table(["behaviour", "", "value", "limit"], rows)


def _importance(importance: Mapping[str, float], largest: int = 12) -> str:
    rows = [[name, f"{value:+.4f}"] for name, value in list(importance.items())[:largest]]
    return markdown_table(["column", "rise of the log-loss"], rows)


def _risks(governed: Governance) -> str:
    rows = [[each.harmed, each.how, each.limited_by] for each in governed.risks]
    return markdown_table(["who may be harmed", "how", "what limits it"], rows)


def _gates(verdicts: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [each["gate"], "passed" if each["passed"] else "REFUSED", format_number(each["value"]),
         format_limit(each), format_number(each["margin"], sign=True)]
        for each in verdicts
    ]  # fmt: skip
    return markdown_table(["gate", "", "value", "limit", "margin"], rows)


def _slices(slices: Sequence[Mapping[str, Any]], name: str, each_end: int = 2) -> str:
    """The large slices in which the model saves least and most against the baseline."""

    def saving(row: Mapping[str, Any]) -> float:
        baseline = float(row["baseline_cost"])
        return 1 - row[f"{name}_cost"] / baseline if baseline else 0.0

    ordered = sorted(large_slices(slices), key=saving)
    chosen = ordered[:each_end] + ordered[each_end:][-each_end:]
    rows = [
        [f"{row['slice']} {row['value']}", format_number(row["n"]), format_number(row["base_rate"]),
         format_number(row[f"{name}_cost"]), f"{saving(row):+.0%}"]
        for row in chosen
    ]  # fmt: skip
    return markdown_table(["slice", "cases", "base rate", "cost", "saving"], rows)


def _short(value: Any) -> str:
    """Shorten a long hash to 16 characters; the version's tags have the full one."""
    text = str(value)
    return text if len(text) <= 48 else f"{text[:16]}…"
