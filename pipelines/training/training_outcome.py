"""The outcome of a training, written last: a killed training has none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from features import durable_files
from settings import Settings


def write_outcome(
    settings: Settings, path: Path, registered: dict[str, Any], released: dict[str, Any] | None,
    reason: str, codes: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """Write `outcome.json` of the training in `path`, with a sentence for people, and return it."""
    manifest = json.loads((path / "data" / "training" / "manifest.json").read_text())
    outcome = {
        "training_id": path.name,
        "as_of": manifest["as_of"],
        "reason": reason,
        "codes": list(codes),  # from the decision to train
        "version": registered["version"],
        "stage": released.get("stage") if released else None,
        "before": released.get("before") if released else None,
        "refused": released.get("refused") if released else None,
        "refused_code": released.get("code") if released else None,
        "why": registered["why"],
        "verdicts": registered["verdicts"],  # on sources and refit; those on candidates: gates.json
        "concluded_at": datetime.now(UTC).isoformat(),
    }
    outcome["told"] = describe_outcome(outcome)
    durable_files.write_json(path / "outcome.json", outcome)
    return _with_report(path, outcome)


def describe_outcome(outcome: dict[str, Any]) -> str:
    """Describe in a sentence whether the version was promoted, is in shadow or was refused."""
    if outcome["version"] is None:
        return f"No version registered, the champion stays: {outcome['why']}"
    if outcome.get("refused"):
        return f"Version {outcome['version']} registered, the champion stays: {outcome['refused']}"
    before = outcome["before"]
    if outcome.get("stage") == "shadow":
        return (
            f"Version {outcome['version']} registered, in shadow of champion version {before}: "
            f"{outcome['why']}"
        )
    after = f" in place of version {before}" if before not in (None, outcome["version"]) else ""
    return f"Version {outcome['version']} promoted to champion{after}: {outcome['why']}"


def find_outcome(settings: Settings, as_of: datetime) -> dict[str, Any] | None:
    """Return the newest concluded training as of `as_of`; None if there is none."""
    outcomes = [
        each for each in list_outcomes(settings) if datetime.fromisoformat(each["as_of"]) == as_of
    ]
    return outcomes[-1] if outcomes else None


def list_outcomes(settings: Settings) -> list[dict[str, Any]]:
    """Return the outcomes of all concluded trainings, the oldest first."""
    files = (settings.var / "training").glob("*/outcome.json")
    outcomes = (_with_report(file.parent, json.loads(file.read_text())) for file in files)
    return sorted(outcomes, key=lambda outcome: outcome["concluded_at"])


def _with_report(path: Path, outcome: dict[str, Any]) -> dict[str, Any]:
    """Add the current path of the report; it is not stored, because the home may be moved."""
    return {**outcome, "report": str(path / "data" / "evaluation" / "report.html")}
