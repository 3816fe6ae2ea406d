"""The outcome of a training, written last: a killed training has none."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from features import durable_files
from pipelines.runtime.stage_command import parse_time
from pipelines.training.training_files import TrainingFiles
from settings import Settings


def write_outcome(
    settings: Settings, path: Path, registered: dict[str, Any], released: dict[str, Any] | None,
    reason: str, codes: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """Write `outcome.json` of the training in `path`, with a sentence for people, and return it."""
    released = released or {}
    outcome = {
        "training_id": path.name,
        "as_of": TrainingFiles(path, settings.use_case).manifest["as_of"],
        "reason": reason,
        "codes": list(codes),  # from the decision to train
        "version": registered["version"],
        **{name: released.get(name) for name in ("stage", "before", "refused")},
        "refused_code": released.get("code"),
        "why": registered["why"],
        "verdicts": registered["verdicts"],  # on sources and refit; those on candidates: gates.json
        "concluded_at": datetime.now(UTC).isoformat(),
    }
    outcome["told"] = describe_outcome(outcome)
    durable_files.write_json(path / "outcome.json", outcome)
    return _with_report(settings, path, outcome)


def describe_outcome(outcome: dict[str, Any]) -> str:
    """Describe in a sentence whether the version was promoted, is in shadow or was refused."""
    version, before, why = outcome["version"], outcome["before"], outcome["why"]
    if version is None:
        return f"No version registered, the champion stays: {why}"
    if outcome.get("refused"):
        return f"Version {version} registered, the champion stays: {outcome['refused']}"
    if outcome.get("stage") == "shadow":
        return f"Version {version} registered, in shadow of champion version {before}: {why}"
    after = f" in place of version {before}" if before not in (None, version) else ""
    return f"Version {version} promoted to champion{after}: {why}"


def find_outcome(settings: Settings, as_of: datetime) -> dict[str, Any] | None:
    """Return the newest concluded training as of `as_of`; None if there is none."""
    newest_first = reversed(list_outcomes(settings))
    return next((each for each in newest_first if parse_time(each["as_of"]) == as_of), None)


def list_outcomes(settings: Settings) -> list[dict[str, Any]]:
    """Return the outcomes of all concluded trainings, the oldest first."""
    files = (settings.state / "training").glob("*/outcome.json")
    outcomes = (
        _with_report(settings, file.parent, durable_files.require_json(file)) for file in files
    )
    return sorted(outcomes, key=lambda outcome: outcome["concluded_at"])


def report_file(settings: Settings, path: Path) -> Path:
    """Return the report of the training in `path`."""
    return path / "data" / settings.usecase / "evaluation" / "report.html"


def _with_report(settings: Settings, path: Path, outcome: dict[str, Any]) -> dict[str, Any]:
    """Add the current path of the report; it is not stored, because the home may be moved."""
    return {**outcome, "report": str(report_file(settings, path))}
