"""Which new rows and batches enter the system: every raw partition is judged once.

A broken row is quarantined with its reasons. A broken batch is refused, and later batches of its
feed wait until it is mended: features are never built over a gap, and an incremental run gives the
same bytes as a full one, since the history that a batch is compared with is always whole.
"""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from features import durable, partitions
from pipelines import ingest, stage
from settings import LoopError, Settings
from usecase import source

if TYPE_CHECKING:  # Great Expectations takes seconds to import (tests/bench/imports.py)
    from pipelines.judge import Reasons, Rules, Verdict

ADVICE = (
    "Later batches of the feed wait; all others stand, and nothing was lost. Mend the source and "
    "run `mlops ingest` again: it fetches the batch again. If the batch is right and its rule is "
    "not, change usecase/expectations.py."
)


def validate_new(settings: Settings, as_of: datetime) -> dict[str, dict[str, Any]]:
    """Judges all raw partitions of days over at `as_of` that are not validated yet.

    Returns by feed how many `batches` were accepted, their `rows`, how many of these were
    `quarantined`, and `reasons` (count by rule). Raises `LoopError` if a batch was refused or is
    missing; all that was accepted is stored by then.
    """
    _follow_rules(settings.data)
    summary: dict[str, dict[str, Any]] = {}
    results: list[Any] = []
    problems: list[str] = []
    for feed in source.FEEDS:
        new, missing = _new_days(settings, feed, as_of)
        summary[feed] = {"batches": 0, "rows": 0, "quarantined": 0, "reasons": {}}
        if new:
            verdict = _judged(settings, feed, new)
            results += verdict.results
            for day, (table, reasons) in verdict.accepted.items():
                _store(settings.data, feed, day, table, reasons)
            summary[feed] = _summary(verdict)
            if verdict.refused:
                problems.append(_refuse(settings.data, feed, verdict.refused, verdict.why))
        if missing:
            problems.append(f"There is no raw batch of {feed} for {missing}.")
    if results and settings.pages:
        from pipelines.suites import write_data_docs

        write_data_docs(results, settings.var / "gx")
    if problems:
        raise LoopError("\n".join([*problems, ADVICE]))
    return summary


def data_docs(settings: Settings) -> Path:
    """The index of Great Expectations' pages on the last run that had something to judge."""
    return settings.var / "gx" / "gx" / "uncommitted" / "data_docs" / "local_site" / "index.html"


def newest_quarantined(data: Path, feed: str) -> int:
    """How many rows of the newest validated batch of `feed` are in quarantine."""
    days = partitions.days(data, "validated", feed)
    return quarantined(data, feed, days[-1]) if days else 0


def quarantined(data: Path, feed: str, day: date) -> int:
    """How many rows of a batch are in quarantine."""
    path = partitions.path(data, "quarantine", feed, day)
    return partitions.n_rows(path) if path.exists() else 0


def _follow_rules(data: Path) -> None:
    """Judges all again where the rules have changed; what is refused stays where it is."""
    names = ("schema.py", "facts.py", "expectations.py")
    code = [Path(source.__file__).parent / name for name in names]
    if partitions.follow_recipe(data / "validated", partitions.recipe_of(*code)):
        for feed in source.FEEDS:
            for day in partitions.days(data, "quarantine", feed):
                partitions.path(data, "quarantine", feed, day).unlink()
    (data / "quarantine").mkdir(parents=True, exist_ok=True)


def _new_days(settings: Settings, feed: str, as_of: datetime) -> tuple[list[date], date | None]:
    """The days to judge, up to the first that is due and has no raw batch; and that one."""
    done = set(partitions.days(settings.data, "validated", feed))
    raw = set(partitions.days(settings.data, "raw", feed))
    new: list[date] = []
    for day in ingest.due_days(settings, feed, as_of):
        if day in done:
            continue
        if day not in raw:
            return new, day
        new.append(day)
    return new, None


def rules(feed: str) -> Rules:
    """What the use case asks of `feed`."""
    from pipelines.judge import Rules
    from usecase import expectations, facts, schema

    return Rules(
        schema=schema.SCHEMA[feed],
        key=schema.KEYS[feed],
        checks=lambda rows: schema.checks(feed, rows),
        rows=expectations.row_rules(feed),
        batches=expectations.batch_rules(feed),
        facts=lambda rows: facts.facts(feed, rows),
    )


def _judged(settings: Settings, feed: str, new: list[date]) -> Verdict:
    from pipelines.judge import judge

    tables = {day: partitions.load(partitions.path(settings.data, "raw", feed, day)) for day in new}
    length = settings.params()["validation"]["history_batches"]
    return judge(feed, tables, _history(settings.data, feed, new, length), rules(feed))


def _history(data: Path, feed: str, new: list[date], length: int) -> dict[date, list[int]]:
    """For each day the row counts of the `length` raw batches before it, or as many as there are.

    A batch in it that is refused now does no harm: the days after it wait, and are judged anew.
    """
    raw = [day for day in partitions.days(data, "raw", feed) if day <= new[-1]]
    since = max(0, raw.index(new[0]) - length)
    sizes = {day: partitions.n_rows(partitions.path(data, "raw", feed, day)) for day in raw[since:]}
    counts, at = list(sizes.values()), {day: number for number, day in enumerate(sizes)}
    return {day: counts[max(0, at[day] - length) : at[day]] for day in new}


def _store(data: Path, feed: str, day: date, table: pa.Table, reasons: Reasons) -> None:
    quarantine = partitions.path(data, "quarantine", feed, day)
    if reasons:
        bad = sorted(reasons)
        told = ["; ".join(f"{rule} ({seen})" for rule, seen in reasons[row].items()) for row in bad]
        partitions.write(table.take(bad).append_column("reasons", pa.array(told)), quarantine)
    else:
        quarantine.unlink(missing_ok=True)
    # A batch that was refused before is mended now; what is left in refused/ is still open.
    partitions.path(data, "quarantine", f"refused/{feed}", day).unlink(missing_ok=True)
    good = pa.array([row not in reasons for row in range(table.num_rows)], pa.bool_())
    # Last, since it marks the batch as done: a run that dies before it judges the batch again.
    partitions.write(table.filter(good), partitions.path(data, "validated", feed, day))


def _summary(verdict: Verdict) -> dict[str, Any]:
    against = [rules for _, reasons in verdict.accepted.values() for rules in reasons.values()]
    return {
        "batches": len(verdict.accepted),
        "rows": sum(table.num_rows for table, _ in verdict.accepted.values()),
        "quarantined": len(against),
        "reasons": dict(Counter(rule for rules in against for rule in rules)),
    }


def _refuse(data: Path, feed: str, day: date, why: list[str]) -> str:
    """Moves a raw partition out of the way, so that it is fetched again; returns the message."""
    target = partitions.path(data, "quarantine", f"refused/{feed}", day)
    refused = partitions.path(data, "raw", feed, day)
    durable.write(target, refused.read_bytes())  # no renaming: it may be on another disk
    refused.unlink()
    return f"The batch of {feed} for {day} is refused and moved to {target}: {'; '.join(why)}."


if __name__ == "__main__":
    stage.run(lambda settings, as_of: print(validate_new(settings, as_of)))
