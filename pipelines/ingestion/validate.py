"""Which new rows and batches enter the system: every raw partition is judged by its content.

A broken row is quarantined with its reasons. A broken batch is refused, and later batches of its
feed wait until it is mended: features are never built over a gap, and an incremental run gives the
same bytes as a full one, since the history that a batch is compared with is always whole. A batch
that was accepted stays accepted: a statement that replaces it may be refused, and other rules
judge its rows again, each day being old or new.
"""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features import data_lock, partitions
from pipelines.ingestion import accepted_batches, pending_batches
from pipelines.runtime import stage_command
from settings import LoopError, Settings
from usecase import source

if TYPE_CHECKING:  # Great Expectations takes seconds to import (tests/bench/imports.py)
    from pipelines.ingestion.batch_checks import CheckedBatches

ADVICE = {
    "new": (
        "Later batches of the feed wait; all others stand, and nothing was lost. Mend the source "
        "and run `mlops ingest` again: it fetches the batch again. If the batch is right and its "
        "rule is not, change usecase/expectations.py."
    ),
    "restated": (
        "The batches that were accepted for these days stay, and nothing was lost. If they are "
        "right, remove the refused files. If not, mend the source and run `mlops ingest --again "
        "FEED/DAY`."
    ),
}
EMPTY_SUMMARY = {"batches": 0, "restated": 0, "judged_again": 0, "rows": 0, "quarantined": 0}


@data_lock.with_data_lock
def validate_new_batches(settings: Settings, as_of: datetime) -> dict[str, dict[str, Any]]:
    """Judges all raw partitions of days over at `as_of` that are new or were replaced.

    Accepted days that were judged by other rules are judged again, row by row. Returns by feed how
    many `batches` were accepted (`restated`: of days that had one), their `rows`, how many of these
    were `count_quarantined`, `reasons` (count by rule), `rows_restated` (rows of these batches
    whose key
    an earlier batch stated), and how many accepted days were `judged_again`. Raises `LoopError` if
    a batch was refused or is missing; all that was accepted is stored by then.
    """
    rules_now = accepted_batches.rules_digest()
    # An older version noted the rules for the folder as a whole.
    (settings.data / "validated" / partitions.RECIPE).unlink(missing_ok=True)
    (settings.data / "quarantine").mkdir(parents=True, exist_ok=True)
    summary: dict[str, dict[str, Any]] = {}
    results: list[Any] = []
    problems: dict[str, list[str]] = {kind: [] for kind in ADVICE}
    for feed in source.FEEDS:
        new, missing = pending_batches.new_days(settings, feed, as_of)
        summary[feed] = {**EMPTY_SUMMARY, "reasons": {}, "rows_restated": 0}
        days: list[date] = []
        for kind, verdict in pending_batches.check_pending(settings, feed, as_of, new, rules_now):
            results += verdict.results
            for day, (table, reasons) in verdict.accepted.items():
                accepted_batches.store_batch(settings.data, feed, day, table, reasons, rules_now)
            if verdict.refused:
                target = accepted_batches.refuse_batch(settings.data, feed, verdict.refused)
                problems[kind].append(
                    f"The batch of {feed} for {verdict.refused} is refused and moved to {target}: "
                    f"{'; '.join(verdict.why)}."
                )
            _count(summary[feed], kind, verdict)
            days += [] if kind == "judged_again" else list(verdict.accepted)
        if days:
            from pipelines.ingestion import restatements

            summary[feed]["rows_restated"] = restatements.record_restatements(settings, feed, days)
        if missing:
            problems["new"].append(f"There is no raw batch of {feed} for {missing}.")
    if results and settings.pages:
        from pipelines.ingestion.expectation_suites import write_data_docs

        write_data_docs(results, settings.var / "gx")
    if lines := [
        line for kind, found in problems.items() if found for line in (*found, ADVICE[kind])
    ]:
        raise LoopError("\n".join(lines))
    return summary


def format_feed_summary(feed: str, found: dict[str, Any]) -> str:
    """A line on a feed's entry in the summary."""
    reasons = "; ".join(f"{rule}: {count}" for rule, count in found["reasons"].items())
    parts = [
        f"{feed}: {_many(found['batches'])}, {found['rows']:,} rows, "
        f"{found['quarantined']} quarantined{f' ({reasons})' if reasons else ''}"
    ]
    if found["restated"]:
        parts.append(f"{_many(found['restated'])} replaced an accepted one")
    if found["rows_restated"]:
        parts.append(f"{found['rows_restated']:,} rows state a key of an earlier batch again")
    if found["judged_again"]:
        parts.append(f"{_many(found['judged_again'], 'accepted ')} judged again by changed rules")
    return "; ".join(parts)


def _many(count: int, kind: str = "") -> str:
    return f"{count} {kind}batch{'' if count == 1 else 'es'}"


def data_docs_index(settings: Settings) -> Path:
    """The index of Great Expectations' pages on the last run that had something to judge."""
    return settings.var / "gx" / "gx" / "uncommitted" / "data_docs" / "local_site" / "index.html"


def count_newest_quarantined(data: Path, feed: str) -> int:
    """How many rows of the newest validated batch of `feed` are in quarantine."""
    days = partitions.partition_days(data, "validated", feed)
    return count_quarantined(data, feed, days[-1]) if days else 0


def count_quarantined(data: Path, feed: str, day: date) -> int:
    """How many rows of a batch are in quarantine."""
    path = partitions.partition_path(data, "quarantine", feed, day)
    return partitions.n_rows(path) if path.exists() else 0


def _count(found: dict[str, Any], kind: str, verdict: CheckedBatches) -> None:
    """Adds a verdict to the summary of its feed."""
    if kind == "judged_again":
        found["judged_again"] += len(verdict.accepted)
        return
    against = [rules for _, reasons in verdict.accepted.values() for rules in reasons.values()]
    found["batches"] += len(verdict.accepted)
    found["restated"] += len(verdict.accepted) if kind == "restated" else 0
    found["rows"] += sum(table.num_rows for table, _ in verdict.accepted.values())
    found["quarantined"] += len(against)
    counts = Counter(rule for rules in against for rule in rules)
    found["reasons"] = dict(Counter(found["reasons"]) + counts)


if __name__ == "__main__":
    stage_command.run_stage_command(
        lambda settings, as_of: print(validate_new_batches(settings, as_of))
    )
