"""The output of `mlops history`, and what `mlops status` shows of the record of releases."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Console

from pipelines.registry.versions import missing_versions
from pipelines.release.audit import approval_rules
from pipelines.release.audit.recorder import RecordedRelease, read_recorded_release
from pipelines.release.audit.trail import (
    StoredEntry,
    arm_versions,
    format_entry,
    traffic_shares_at,
)
from pipelines.release.audit.verification import verify_release
from settings import Settings


def plain_console() -> Console:
    return Console(highlight=False, soft_wrap=True, markup=False)


def print_history(settings: Settings) -> None:
    """Print every entry, the newest first, then the problems of the record."""
    recorded = read_recorded_release(settings)
    console = plain_console()
    for entry in reversed(recorded.trail.entries):
        for line in format_entry(entry):
            console.print(line)
    if not recorded.trail.entries:
        console.print("Nothing is on record yet.")
    for attempt in recorded.trail.unfinished:
        console.print(_unfinished_line(attempt))
    for line in _deleted_lines(settings, recorded):
        console.print(line)
    for problem in recorded.trail.problems:
        console.print(f"PROBLEM: {problem}")


def _deleted_lines(settings: Settings, recorded: RecordedRelease) -> list[str]:
    arms = [each for entry in recorded.trail.entries for each in (entry.before, entry.after)]
    deleted = missing_versions(settings, *arm_versions(*arms))
    return [
        f"Deleted: version {version} is missing in the registry. Its entries and its files in "
        f"{settings.var / 'models' / version} stay."
        for version in deleted
    ]


def _unfinished_line(attempt: StoredEntry) -> str:
    tags = attempt.tags
    return (
        f"Unfinished: {tags.get('action')} of version {tags.get('version') or '-'} by "
        f"{tags.get('by')} at {tags.get('at', '')[:19]} began and changed nothing "
        f"(run {attempt.run_id})"
    )


def print_traffic_shares(settings: Settings, moment: datetime) -> None:
    """Print each version's share of the traffic at `moment`."""
    trail = read_recorded_release(settings).trail
    shares = traffic_shares_at(trail.entries, moment)
    console = plain_console()
    for problem in trail.problems:
        console.print(f"PROBLEM: {problem}")
    if not shares:
        console.print(f"On record, no version answered at {moment:%Y-%m-%d %H:%M:%S} UTC.")
    for version, share in shares.items():
        shown = f"{share:.1%}" if share else "none (shadow)"
        console.print(f"version {version}: {shown} of the traffic")


def print_verification(settings: Settings, holds: str | None = None) -> bool:
    """Print whether the record is whole and, if given, has an entry with the digest `holds`."""
    problems, trail = verify_release(settings)
    if holds and not any(entry.digest.startswith(holds) for entry in trail.entries):
        problems = [*problems, f"No entry has the digest {holds}: the noted entry is missing."]
    console = plain_console()
    for attempt in trail.unfinished:
        console.print(_unfinished_line(attempt))
    for problem in problems:
        console.print(f"PROBLEM: {problem}")
    if not problems:
        newest = f"; the newest is {trail.entries[-1].digest}" if trail.entries else ""
        console.print(f"The record is whole: {len(trail.entries)} entries{newest}")
    return not problems


def approval_lines(settings: Settings) -> list[str]:
    """Return lines for `mlops status`: problems, deleted versions, approvals, overrides."""
    recorded = read_recorded_release(settings)
    entries, now = recorded.trail.entries, datetime.now(UTC)
    document = recorded.document
    challenger = document.challenger and document.challenger.model
    models = [model for model in (document.champion, challenger) if model]
    lines = [f"PROBLEM:   {problem}" for problem in recorded.trail.problems]
    for version in missing_versions(settings, *[model.version for model in models]):
        lines.append(
            f"DELETED:   version {version} is missing in the registry; it is served from its files"
        )
    for model in models:
        approval, _ = approval_rules.find_approval(entries, model.version, model.digest, now)
        if approval is not None:
            lines.append(
                f"Approval:  version {model.version} by {approval.by} until "
                f"{approval.details['until'][:16]} UTC"
            )
        overrides = approval_rules.active_overrides(entries, model.version, model.digest, now)
        for gate, override in overrides.items():
            lines.append(
                f"OVERRIDE:  version {model.version} passes '{gate}' until "
                f"{override.details['until'][:16]} UTC, by {override.by}: {override.why}"
            )
    return lines
