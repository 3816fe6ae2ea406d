"""What does the record say, in words? History, who answered when, whether it is whole."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Console

from pipelines.registry import versions
from pipelines.release.audit import approval_rules, entry_store, publish, recorder
from pipelines.release.audit import trail as chained
from pipelines.release.audit.release_document import read_release_document
from pipelines.training import mlflow_tracking
from settings import Settings


def plain_console() -> Console:
    return Console(highlight=False, soft_wrap=True, markup=False)


def print_history(settings: Settings) -> None:
    """Prints every entry, the newest first, then what is wrong with the record, if anything."""
    found = recorder.read_recorded_release(settings)
    out = plain_console()
    for entry in reversed(found.trail.entries):
        for line in chained.format_entry(entry):
            out.print(line)
    if not found.trail.entries:
        out.print("Nothing is on the record yet.")
    for each in found.trail.unfinished:
        out.print(f"Unfinished: {_told_attempt(each)}")
    for line in _deleted(settings, found):
        out.print(line)
    for problem in found.trail.problems:
        out.print(f"PROBLEM: {problem}")


def _deleted(settings: Settings, found: recorder.RecordedRelease) -> list[str]:
    arms = [each for entry in found.trail.entries for each in (entry.before, entry.after)]
    served = [each[arm] for each in arms for arm in ("champion", "challenger") if each[arm]]
    gone = versions.missing_versions(settings, *sorted({each["version"] for each in served}))
    return [
        f"Deleted: version {version} is no more in the registry. Its entries and its files in "
        f"{settings.var / 'models' / version} stay."
        for version in gone
    ]


def _told_attempt(stored: chained.StoredEntry) -> str:
    tags = stored.tags
    return (
        f"{tags.get('action')} of version {tags.get('version') or '-'} by {tags.get('by')} at "
        f"{tags.get('at', '')[:19]} was begun and changed nothing (run {stored.run_id})"
    )


def print_traffic_shares(settings: Settings, moment: datetime) -> None:
    """Prints which version answered what share of traffic at `moment`."""
    found = recorder.read_recorded_release(settings)
    shares = chained.traffic_shares_at(found.trail.entries, moment)
    out = plain_console()
    for problem in found.trail.problems:
        out.print(f"PROBLEM: {problem}")
    if not shares:
        out.print(f"By the record no version answered at {moment:%Y-%m-%d %H:%M:%S} UTC.")
    for version, share in shares.items():
        told_share = f"{share:.1%}" if share else "none, in the shadow"
        out.print(f"version {version}: {told_share} of the traffic")


def print_verification(settings: Settings, holds: str | None = None) -> bool:
    """Whether the record is whole, down to the evidence, and holds the digest noted elsewhere."""
    problems, chain = verify_record(settings)
    if holds and not any(entry.digest.startswith(holds) for entry in chain.entries):
        problems = [*problems, f"No entry has the digest {holds}: what was noted is gone."]
    out = plain_console()
    for each in chain.unfinished:
        out.print(f"Unfinished: {_told_attempt(each)}")
    for problem in problems:
        out.print(f"PROBLEM: {problem}")
    if not problems:
        newest = f"; the newest is {chain.entries[-1].digest}" if chain.entries else ""
        out.print(f"The record is whole: {len(chain.entries)} entries{newest}")
    return not problems


def verify_record(settings: Settings) -> tuple[list[str], chained.AuditTrail]:
    """What is wrong with the record, in words, and its entries as far as they can be trusted."""
    with versions.reraise_mlflow_errors(settings):
        client = mlflow_tracking.mlflow_client(settings)
        state = read_release_document(settings, client)
        stored = entry_store.read_entries(settings, client, evidence=True)
        chain = chained.verify_trail(stored, state.history)
    problems = list(chain.problems)
    if not problems and not recorder.RecordedRelease(state, chain).is_consistent:
        problems.append(
            "The release document was changed by hand: its newest entry says otherwise."
        )
    served = publish.read_served_release(settings)
    if served is not None and (served.generation, served.history) != (
        state.generation, state.history,
    ):  # fmt: skip
        problems.append(
            f"{settings.release_file} says generation {served.generation}, the registry "
            f"{state.generation}: a change was killed, or one of them was set back."
        )
    return problems, chain


def approval_lines(settings: Settings) -> list[str]:
    """For `mlops status`: since when who serves, and which overrides hold."""
    found = recorder.read_recorded_release(settings)
    known, now = found.trail.entries, datetime.now(UTC)
    state = found.document
    models = [state.champion, state.challenger and state.challenger.model]
    lines = [f"PROBLEM:   {problem}" for problem in found.trail.problems]
    for version in versions.missing_versions(settings, *[each.version for each in models if each]):
        lines.append(
            f"DELETED:   version {version} is no more in the registry; it is served from its files"
        )
    for model in [each for each in models if each]:
        approved, _ = approval_rules.find_approval(known, model.version, model.digest, now)
        if approved is not None:
            lines.append(
                f"Approval:  version {model.version} by {approved.by} until "
                f"{approved.details['until'][:16]} UTC"
            )
        held = approval_rules.active_overrides(known, model.version, model.digest, now)
        for gate, entry in held.items():
            lines.append(
                f"OVERRIDE:  version {model.version} passes '{gate}' until "
                f"{entry.details['until'][:16]} UTC, by {entry.by}: {entry.why}"
            )
    return lines
