"""The lines of `mlops history`, and what `mlops status` shows of the record of releases."""

from collections.abc import Iterable
from datetime import UTC, datetime

from pipelines.registry.versions import missing_versions
from pipelines.release.audit import approval_rules
from pipelines.release.audit.recorder import RecordedRelease, read_recorded_release
from pipelines.release.audit.release_document import served_models
from pipelines.release.audit.trail import (
    StoredEntry,
    arm_versions,
    format_entry,
    traffic_shares_at,
)
from pipelines.release.audit.verification import verify_release
from settings import Settings


def history_lines(settings: Settings) -> list[str]:
    """Return every entry, the newest first, then the problems of the record."""
    recorded = read_recorded_release(settings)
    trail = recorded.trail
    lines = [line for entry in reversed(trail.entries) for line in format_entry(entry)]
    return [
        *(lines or ["Nothing is on record yet."]),
        *map(_unfinished_line, trail.unfinished),
        *_deleted_lines(settings, recorded),
        *_problem_lines(trail.problems),
    ]


def _problem_lines(problems: Iterable[str]) -> list[str]:
    return [f"PROBLEM: {problem}" for problem in problems]


def _deleted_lines(settings: Settings, recorded: RecordedRelease) -> list[str]:
    arms = [each for entry in recorded.trail.entries for each in (entry.before, entry.after)]
    deleted = missing_versions(settings, *arm_versions(*arms))
    return [
        f"Deleted: version {version} is missing in the registry. Its entries and its files in "
        f"{settings.state / 'models' / version} stay."
        for version in deleted
    ]


def _unfinished_line(attempt: StoredEntry) -> str:
    tags = attempt.tags
    return (
        f"Unfinished: {tags.get('action')} of version {tags.get('version') or '-'} by "
        f"{tags.get('by')} at {tags.get('at', '')[:19]} began and changed nothing "
        f"(run {attempt.run_id})"
    )


def traffic_lines(settings: Settings, moment: datetime) -> list[str]:
    """Return each version's share of the traffic at `moment`, after the record's problems."""
    trail = read_recorded_release(settings).trail
    lines = [
        f"version {version}: {f'{share:.1%}' if share else 'none (shadow)'} of the traffic"
        for version, share in traffic_shares_at(trail.entries, moment).items()
    ]
    nobody = f"On record, no version answered at {moment:%Y-%m-%d %H:%M:%S} UTC."
    return [*_problem_lines(trail.problems), *(lines or [nobody])]


def verification_lines(settings: Settings, holds: str | None) -> tuple[bool, list[str]]:
    """Return whether the record is whole and, if given, has an entry with the digest `holds`."""
    problems, trail = verify_release(settings)
    if holds and not any(entry.digest.startswith(holds) for entry in trail.entries):
        problems = [*problems, f"No entry has the digest {holds}: the noted entry is missing."]
    newest = f"; the newest is {trail.entries[-1].digest}" if trail.entries else ""
    whole = f"The record is whole: {len(trail.entries)} entries{newest}"
    lines = [*map(_unfinished_line, trail.unfinished), *(_problem_lines(problems) or [whole])]
    return not problems, lines


def approval_lines(settings: Settings) -> list[str]:
    """Return lines for `mlops status`: problems, deleted versions, approvals, overrides."""
    recorded = read_recorded_release(settings)
    entries, now = recorded.trail.entries, datetime.now(UTC)
    models = served_models(recorded.document)
    lines = [f"PROBLEM:   {problem}" for problem in recorded.trail.problems]
    lines += [
        f"DELETED:   version {version} is missing in the registry; it is served from its files"
        for version in missing_versions(settings, *[model.version for model in models])
    ]
    for model in models:
        approval, _ = approval_rules.find_approval(entries, model.version, model.digest, now)
        if approval is not None:
            until = approval.details["until"][:16]
            lines.append(f"Approval:  version {model.version} by {approval.by} until {until} UTC")
        overrides = approval_rules.active_overrides(entries, model.version, model.digest, now)
        lines += [
            f"OVERRIDE:  version {model.version} passes '{gate}' until "
            f"{override.details['until'][:16]} UTC, by {override.by}: {override.why}"
            for gate, override in overrides.items()
        ]
    return lines
