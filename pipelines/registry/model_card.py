"""What must a reader know before using this version? Its model card: words, lineage, results."""

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

# MLflow's registry keeps so much of a description, and its Postgres refuses what is longer.
MAX_DESCRIPTION_LENGTH = 5000
# What makes the version again; a card that can't say one of these is not written.
LINEAGE_TITLES = {
    "training_id": "training", "as_of": "as of", "data_until": "data until",
    "holdout_start": "judged on cases from", "dvc_md5_training": "md5 of the training set",
    "dvc_md5_validated": "md5 of the validated batches", "git_commit": "git commit",
    "code_sha256": "digest of the code",
    "lock_sha256": "sha256 of the lock file", "seed": "seed",
    "feast_registry_version": "feature definitions", "digest": "digest of the served form",
}  # fmt: skip
DESCRIPTION_FACTS = (*LINEAGE_TITLES, "candidate", "measured", "verdicts", "slices")
EXPLANATION_FACTS = ("tried", "intervals", "behaviours", "importance")
IMPORTANCE_CAPTION = "By how much the log-loss on unseen cases rises when a column is shuffled."
REFIT_NOTE = "Judged on cases that it had not seen, then refitted on all: metrics are from before."


def read_use_case_card() -> str:
    """The use case's own part: governance before, and prose on use, data and limits after it."""
    return (Path(__file__).resolve().parents[2] / "usecase" / "card.md").read_text()


def render_model_card(text: str, facts: Mapping[str, Any]) -> str:
    """The whole card in Markdown: the use case's `text`, then what is known of this version.

    `facts` has the lineage, `candidate`, `measured` (metrics by model), `verdicts`, `slices` (as in
    `gates.json`) and what `pipelines.registry.explanations` finds. Raises `LoopError` if a fact is
    absent.
    """
    owned, prose = governance.parse_governance(text)
    _require(facts, (*DESCRIPTION_FACTS, *EXPLANATION_FACTS))
    sections = [
        *_head(owned, prose, facts),
        "## Candidates tried", _tried(facts),
        "## Metrics", *_metrics(facts),
        "## Gates", _gates(facts["verdicts"]),
        "## Behaviours", _behaviours(facts["behaviours"]),
        "## What drives it", IMPORTANCE_CAPTION, _importance(facts["importance"]),
        "## Slices against the baseline", _slices(facts["slices"], facts["candidate"]),
        "## Risks, as approved", _risks(owned),
        "## Monitoring plan", "\n".join(f"- {each}" for each in owned.monitoring),
    ]  # fmt: skip
    return "\n\n".join(sections) + "\n"


def render_registry_description(text: str, facts: Mapping[str, Any]) -> str:
    """The card as the registry's description, which keeps `MAX_DESCRIPTION_LENGTH` characters.

    Raises `LoopError` if a fact is absent, or it is longer all the same.
    """
    owned, prose = governance.parse_governance(text)
    _require(facts, DESCRIPTION_FACTS)
    passed = sum(each["passed"] for each in facts["verdicts"])
    sections = [
        *_head(owned, prose, facts), "## Metrics", *_metrics(facts),
        "## Gates", f"{passed} of {len(facts['verdicts'])} passed.",
        "## Slices against the baseline", _slices(facts["slices"], facts["candidate"]),
        "Gates, behaviours, importance, risks and plots: `card.html`, among the run's artifacts.",
    ]  # fmt: skip
    card = "\n\n".join(sections) + "\n"
    if len(card) > MAX_DESCRIPTION_LENGTH:
        raise LoopError(
            f"The model card has {len(card):,} characters and the registry keeps "
            f"{MAX_DESCRIPTION_LENGTH:,}: "
            f"shorten usecase/card.md by {len(card) - MAX_DESCRIPTION_LENGTH:,}."
        )
    return card


def _require(facts: Mapping[str, Any], needed: Sequence[str]) -> None:
    if absent := [name for name in needed if facts.get(name) in (None, "", [], {})]:
        raise LoopError(f"The model card lacks {absent}: a version without them is not registered.")


def _head(owned: Governance, prose: str, facts: Mapping[str, Any]) -> list[str]:
    lineage = [[title, f"`{_short(facts[fact])}`"] for fact, title in LINEAGE_TITLES.items()]
    approved = f"{owned.risks_approved_by}, {owned.risks_approved_at}"
    return [
        f"# Model card: {facts['candidate']}", owned.purpose,
        f"**Owner:** {owned.owner}. **Contact:** {owned.contact}. **Risks approved by:** "
        f"{approved}.",
        prose, "## This version", REFIT_NOTE, markdown_table(["fact", "value"], lineage),
    ]  # fmt: skip


def _metrics(facts: Mapping[str, Any]) -> list[str]:
    name, measured = facts["candidate"], facts["measured"]
    models = [model for model in (name, "baseline", "champion") if model in measured]
    known = facts.get("intervals", {})
    rows = []
    for metric in measured[name]:
        low, high = known.get(metric, (None, None))
        told = "" if low is None else f"{format_number(low)} to {format_number(high)}"
        values = [format_number(measured[model][metric]) for model in models]
        rows.append([metric.replace("_", " "), values[0], told, *values[1:]])
    return [markdown_table(["metric", models[0], "90% interval", *models[1:]], rows)]


def _tried(facts: Mapping[str, Any]) -> str:
    rows = [
        [
            name,
            format_number(each["draws"]),
            ", ".join(f"{k}={v}" for k, v in each["params"].items()),
            format_number(facts["measured"][name]["cost_per_1000"]),
        ]
        for name, each in facts["tried"].items()
    ]
    return markdown_table(["candidate", "draws", "chosen", "cost per 1,000"], rows)


def _behaviours(found: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [
            name,
            "holds" if each["passed"] else "FAILS",
            format_number(each["value"]),
            format_limit(each),
        ]
        for name, each in found.items()
    ]
    return markdown_table(["behaviour", "", "value", "limit"], rows)


def _importance(found: Mapping[str, float], largest: int = 12) -> str:
    rows = [[name, f"{value:+.4f}"] for name, value in list(found.items())[:largest]]
    return markdown_table(["column", "rise of the log-loss"], rows)


def _risks(owned: Governance) -> str:
    rows = [[each.harmed, each.how, each.limited_by] for each in owned.risks]
    return markdown_table(["who may be harmed", "how", "what limits it"], rows)


def _gates(verdicts: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [each["gate"], "passed" if each["passed"] else "REFUSED", format_number(each["value"]),
         format_limit(each), format_number(each["margin"], sign=True)]
        for each in verdicts
    ]  # fmt: skip
    return markdown_table(["gate", "", "value", "limit", "margin"], rows)


def _slices(found: Sequence[Mapping[str, Any]], name: str, each_end: int = 2) -> str:
    """The slices in which the model saves least and most; small ones are left out."""

    def saving(row: Mapping[str, Any]) -> float:
        theirs = float(row["baseline_cost"])
        return 1 - row[f"{name}_cost"] / theirs if theirs else 0.0

    ordered = sorted(large_slices(found), key=saving)
    chosen = ordered[:each_end] + ordered[each_end:][-each_end:]
    rows = [
        [f"{row['slice']} {row['value']}", format_number(row["n"]), format_number(row["base_rate"]),
         format_number(row[f"{name}_cost"]), f"{saving(row):+.0%}"]
        for row in chosen
    ]  # fmt: skip
    return markdown_table(["slice", "cases", "base rate", "cost", "saving"], rows)


def _short(value: Any) -> str:
    """A long hash is known by its first 16 characters; the whole one is a tag of the version."""
    text = str(value)
    return text if len(text) <= 48 else f"{text[:16]}…"
