"""What must a reader know before using this version? Its model card: words, lineage, results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.wording import large_slices, limit, markdown_table, number
from settings import LoopError

# MLflow's registry keeps so much of a description, and its Postgres refuses what is longer.
LONGEST = 5000
# What makes the version again; a card that can't say one of these is not written.
LINEAGE = {
    "training_id": "training", "as_of": "as of", "data_until": "data until",
    "holdout_start": "judged on cases from", "dvc_md5_training": "md5 of the training set",
    "dvc_md5_validated": "md5 of the validated batches", "git_commit": "git commit",
    "lock_sha256": "sha256 of the lock file", "seed": "seed",
    "feast_registry_version": "feature definitions", "digest": "digest of the served form",
}  # fmt: skip
REFITTED = "Judged on cases that it had not seen, then refitted on all: metrics are from before."


def use_case_text() -> str:
    """The use case's own part: owner, use, data, limits, risks."""
    return (Path(__file__).resolve().parents[1] / "usecase" / "card.md").read_text()


def render(text: str, facts: Mapping[str, Any]) -> str:
    """The card in Markdown: the use case's `text`, then what is known of this version.

    `facts` has the lineage, `candidate`, `measured` (metrics by model), `verdicts` and `slices` (as
    in `gates.json`). Raises `LoopError` if a fact is absent, or the card longer than `LONGEST`.
    """
    needed = (*LINEAGE, "candidate", "measured", "verdicts", "slices")
    if absent := [name for name in needed if facts.get(name) in (None, "", [], {})]:
        raise LoopError(f"The model card lacks {absent}: a version without them is not registered.")
    name, measured = facts["candidate"], facts["measured"]
    lineage = [[title, f"`{_short(facts[fact])}`"] for fact, title in LINEAGE.items()]
    sections = [
        f"# Model card: {name}", text.strip(),
        "## This version", REFITTED, markdown_table(["fact", "value"], lineage),
        "## Metrics", _metrics(measured, name),
        "## Gates", _gates(facts["verdicts"]),
        "## Slices against the baseline", _slices(facts["slices"], name),
    ]  # fmt: skip
    card = "\n\n".join(sections) + "\n"
    if len(card) > LONGEST:
        raise LoopError(
            f"The model card has {len(card):,} characters and the registry keeps {LONGEST:,}: "
            f"shorten usecase/card.md by {len(card) - LONGEST:,}."
        )
    return card


def _metrics(measured: Mapping[str, Mapping[str, float]], name: str) -> str:
    models = [model for model in (name, "baseline", "champion") if model in measured]
    rows = [
        [metric.replace("_", " "), *(number(measured[model][metric]) for model in models)]
        for metric in measured[name]
    ]
    return markdown_table(["metric", *models], rows)


def _gates(verdicts: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [each["gate"], "passed" if each["passed"] else "REFUSED", number(each["value"]),
         limit(each), number(each["margin"], sign=True)]
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
        [f"{row['slice']} {row['value']}", number(row["n"]), number(row["base_rate"]),
         number(row[f"{name}_cost"]), f"{saving(row):+.0%}"]
        for row in chosen
    ]  # fmt: skip
    return markdown_table(["slice", "cases", "base rate", "cost", "saving"], rows)


def _short(value: Any) -> str:
    """A long hash is known by its first 16 characters; the whole one is a tag of the version."""
    text = str(value)
    return text if len(text) <= 48 else f"{text[:16]}…"
