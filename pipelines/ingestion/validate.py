"""Check new and replaced raw batches, and store their rows as validated or quarantined.

A broken row is quarantined with its reasons. A broken batch is refused, and later batches of its
feed wait until it is fixed. So features are never built over a gap, and an incremental run gives
the same bytes as a full run: the history that a batch is compared with is always complete. An
accepted day stays accepted. A restatement of it may be refused, and changed rules check its rows
again. At any moment a day is either old or new.
"""

from collections import Counter
from datetime import date, datetime
from pathlib import Path
from typing import Any

from features import locks, partitions
from pipelines.ingestion import accepted_batches, pending_batches
from pipelines.runtime import stage_command
from settings import LoopError, Settings

ADVICE = {
    "new": (
        "Later batches of the feed wait. All other batches are stored, and no data is lost. Fix "
        "the source and run `mlops ingest`: it fetches the batch again. If the batch is right and "
        "its rule is wrong, change the use case's rule."
    ),
    "restated": (
        "The accepted batches of these days stay, and no data is lost. If they are right, remove "
        "the refused files. If not, fix the source and run `mlops ingest --again FEED/DAY`."
    ),
}


@locks.with_data_lock
def validate_new_batches(settings: Settings, as_of: datetime) -> dict[str, dict[str, Any]]:
    """Check all raw partitions of days over at `as_of` that are new or were replaced.

    Days accepted by other rules are checked again, row by row. Return counts by feed:

    - `batches`: accepted ones; `restated`: those of days that already had a batch
    - `rows` of these batches; `quarantined`: broken ones; `reasons`: quarantined rows by rule
    - `rows_restated`: rows whose key an earlier batch has
    - `judged_again`: accepted days that were checked again

    Raise `LoopError` if a batch is refused or missing, after everything accepted is stored.
    """
    rules = accepted_batches.rules_digest(settings.use_case)
    # An older version stored one digest for the whole folder.
    (settings.data / "validated" / partitions.RECIPE).unlink(missing_ok=True)
    (settings.data / "quarantine").mkdir(parents=True, exist_ok=True)
    summary: dict[str, dict[str, Any]] = {}
    results: list[Any] = []
    problems: dict[str, list[str]] = {kind: [] for kind in ADVICE}
    for feed in settings.use_case.feeds:
        summary[feed] = _validate_feed(settings, feed, as_of, rules, results, problems)
    if results and settings.pages:
        from pipelines.ingestion.expectation_suites import write_data_docs

        write_data_docs(results, settings.state / "gx")
    lines = [line for kind in ADVICE if problems[kind] for line in (*problems[kind], ADVICE[kind])]
    if lines:
        raise LoopError("\n".join(lines))
    return summary


def _validate_feed(
    settings: Settings, feed: str, as_of: datetime, rules: str, results: list[Any],
    problems: dict[str, list[str]],
) -> dict[str, Any]:  # fmt: skip
    """Return the feed's summary; extend `results`, and `problems` by kind of batch."""
    new, missing = pending_batches.new_days(settings, feed, as_of)
    accepted: dict[str, dict[date, Any]] = {"judged_again": {}, "restated": {}, "new": {}}
    for kind, checked in pending_batches.check_pending(settings, feed, as_of, new, rules):
        results += checked.results
        for day, (table, reasons) in checked.accepted.items():
            accepted_batches.store_batch(settings.data, feed, day, table, reasons, rules)
        if checked.refused:
            target = accepted_batches.refuse_batch(settings.data, feed, checked.refused)
            problems[kind].append(
                f"The batch of {feed} for {checked.refused} is refused and moved to {target}: "
                f"{'; '.join(checked.refusal_reasons)}."
            )
        accepted[kind] |= checked.accepted
    if missing:
        problems["new"].append(f"There is no raw batch of {feed} for {missing}.")
    batches = accepted["restated"] | accepted["new"]
    broken_rows = [row for _, reasons in batches.values() for row in reasons.values()]
    return {
        "batches": len(batches),
        "restated": len(accepted["restated"]),
        "judged_again": len(accepted["judged_again"]),
        "rows": sum(table.num_rows for table, _ in batches.values()),
        "quarantined": len(broken_rows),
        "reasons": dict(Counter(rule for row in broken_rows for rule in row)),
        "rows_restated": accepted_batches.record_restatements(settings, feed, batches),
    }


def format_feed_summary(feed: str, summary: dict[str, Any]) -> str:
    """Format one feed's entry of the summary as a line."""
    reasons = "; ".join(f"{rule}: {count}" for rule, count in summary["reasons"].items())
    parts = [
        f"{feed}: {_count_text(summary['batches'])}, {summary['rows']:,} rows, "
        f"{summary['quarantined']} quarantined{f' ({reasons})' if reasons else ''}"
    ]
    if summary["restated"]:
        parts.append(f"{_count_text(summary['restated'])} replaced an accepted one")
    if summary["rows_restated"]:
        parts.append(f"{summary['rows_restated']:,} rows repeat a key of an earlier batch")
    if summary["judged_again"]:
        accepted = _count_text(summary["judged_again"], "accepted ")
        parts.append(f"{accepted} checked again by changed rules")
    return "; ".join(parts)


def _count_text(count: int, kind: str = "") -> str:
    return f"{count} {kind}batch{'' if count == 1 else 'es'}"


def data_docs_index(settings: Settings) -> Path:
    """Return the index of Great Expectations' pages on the last run that checked a batch."""
    return settings.state / "gx" / "gx" / "uncommitted" / "data_docs" / "local_site" / "index.html"


if __name__ == "__main__":
    stage_command.run_stage_command(
        lambda settings, as_of: print(validate_new_batches(settings, as_of))
    )
