"""Row and batch rules, evaluated with Great Expectations: broken rows and refused batches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from contract import UseCase
from features import column_types
from pipelines.ingestion import batch_facts, expectation_suites, rules
from pipelines.ingestion.accepted_batches import RowReasons
from settings import UserError


@dataclass(frozen=True)
class FeedRules:
    """The rules for a feed: those of every feed, and the use case's own."""

    schema: pa.Schema
    key: list[str]
    checks: Callable[[pd.DataFrame], pd.DataFrame]
    rows: list[Any]
    batches: list[Any]
    facts: Callable[[pd.DataFrame], Mapping[str, float]] = (
        lambda rows: {}
    )  # besides the general ones


def feed_rules(use_case: UseCase, feed: str) -> FeedRules:
    """Return all rules for `feed`."""
    key = list(use_case.feeds[feed])
    return FeedRules(
        schema=use_case.schema(feed),
        key=key,
        checks=lambda rows: use_case.checks(feed, rows),
        rows=[*rules.key_rules(key), *use_case.row_rules(feed)],
        batches=rules.between({**rules.EVERY_BATCH, **use_case.batch_bounds(feed)}),
        facts=lambda rows: use_case.facts(feed, rows),
    )


@dataclass
class CheckedBatches:
    """The accepted days with their broken rows, and the refused day with reasons, if any."""

    accepted: dict[date, tuple[pa.Table, RowReasons]] = field(default_factory=dict)
    refused: date | None = None
    refusal_reasons: list[str] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)


def check_batches(
    feed: str, tables: dict[date, pa.Table], history: dict[date, list[int]], rules: FeedRules
) -> CheckedBatches:
    """Check the batches of `feed` in the order of days, up to the first that is refused.

    `history` holds for each day the row counts of earlier batches.
    """
    checked = CheckedBatches()
    parts = [column_types.conform(table, rules.schema) for table in tables.values()]
    schemas = pd.DataFrame({"schema": [batch_facts.schema_text(part.schema) for part in parts]})
    expected = expectation_suites.schema_expectations(batch_facts.schema_text(rules.schema))
    days = _days_before_refusal(checked, expected, list(tables), schemas, f"{feed}_schema")
    if days:
        parts = parts[: len(days)]
        reasons = _row_reasons(checked, rules, days, parts, f"{feed}_rows")
        measured = []
        for day, part, broken in zip(days, parts, reasons, strict=True):
            rows = part.to_pandas()
            general = batch_facts.compute_batch_facts(
                rows, day, key=rules.key, n_quarantined=len(broken), history=history[day]
            )
            measured.append({**general, **rules.facts(rows)})
        accepted = _days_before_refusal(
            checked, rules.batches, days, pd.DataFrame(measured), f"{feed}_batches"
        )
        checked.accepted = dict(zip(accepted, zip(parts, reasons, strict=True), strict=False))
    return checked


def recheck_accepted(feed: str, tables: dict[date, pa.Table], rules: FeedRules) -> CheckedBatches:
    """Check the rows of accepted batches by new rules, and refuse no batch.

    A declared column that a batch lacks is newer than the batch: it becomes null, and no rule
    applies to it. Raise `UserError` if a batch does not convert to the types declared now.
    """
    checked, parts = CheckedBatches(), []
    for day, table in tables.items():
        try:
            parts.append(column_types.widen(table, rules.schema))
        except ValueError as error:
            raise UserError(
                f"The accepted batch of {feed} for {day} does not fit its schema: {error}. "
                "The batch is unchanged. Declare a type that holds the old values, or rename the "
                "column. Then run `mlops ingest` again."
            ) from error
    reasons = _row_reasons(checked, rules, list(tables), parts, f"{feed}_again_rows")
    for (day, table), part, broken_rows in zip(tables.items(), parts, reasons, strict=True):
        newer = set(rules.schema.names) - set(table.schema.names)
        ignored = {rule.meta["rule"] for rule in rules.rows if newer & set(_rule_columns(rule))}
        applicable = {
            row: {name: values for name, values in broken.items() if name not in ignored}
            for row, broken in broken_rows.items()
        }
        checked.accepted[day] = part, {row: broken for row, broken in applicable.items() if broken}
    return checked


def _days_before_refusal(
    checked: CheckedBatches, rules: Sequence[Any], days: list[date], facts: pd.DataFrame, suite: str
) -> list[date]:
    """Return the days before the first that breaks one of `rules`, and put it into `checked`."""
    broken, result = expectation_suites.run_suite(rules, facts, suite)
    checked.results.append(result)
    first = min((number for numbers in broken.values() for number in numbers), default=None)
    if first is None:
        return days
    checked.refused = days[first]
    checked.refusal_reasons = [
        _describe_broken_rule(rule, facts.iloc[first])
        for rule in rules
        if first in broken[rule.meta["rule"]]
    ]
    return days[:first]


def _describe_broken_rule(rule: Any, facts: pd.Series) -> str:
    """Name a broken batch rule, the observed value and the bound."""
    bounds = {name: value for name, value in rule.configuration.kwargs.items() if name != "column"}
    observed = facts[rule.column]
    if rule.column == "schema":
        difference = batch_facts.describe_schema_difference(observed, *bounds["value_set"])
        return f"{rule.meta['rule']}: {difference}"
    rounded = round(observed, 4) if isinstance(observed, float) else observed
    bound = ", ".join(f"{name} {format_value(value)}" for name, value in bounds.items())
    return f"{rule.meta['rule']}: {rule.column} is {format_value(rounded)}, expected {bound}"


def _row_reasons(
    checked: CheckedBatches, rules: FeedRules, days: list[date], parts: list[pa.Table], suite: str
) -> list[RowReasons]:
    """Return for each part its broken rows, with reasons in the order of rules."""
    sizes = [part.num_rows for part in parts]
    rows = pa.concat_tables(parts).to_pandas()
    rows["batch_day"] = np.repeat(pd.DatetimeIndex(days, tz="UTC"), sizes)
    rows["known_day"] = rows["known_at"].dt.floor("D")
    rows = rules.checks(rows)
    row_rules = [*expectation_suites.known_at_expectations(), *rules.rows]
    broken, result = expectation_suites.run_suite(row_rules, rows, suite)
    checked.results.append(result)
    batch_of = np.repeat(np.arange(len(parts)), sizes).tolist()
    row_of = [row for size in sizes for row in range(size)]
    reasons: list[RowReasons] = [{} for _ in parts]
    for rule in row_rules:
        name, columns = rule.meta["rule"], _rule_columns(rule)
        for number in broken[name]:
            values = ", ".join(f"{each}={format_value(rows.at[number, each])}" for each in columns)
            reasons[batch_of[number]].setdefault(row_of[number], {})[name] = values
    return reasons


def _rule_columns(rule: Any) -> list[str]:
    arguments = rule.configuration.kwargs
    single = [arguments[name] for name in ("column", "column_A", "column_B") if name in arguments]
    return [*single, *arguments.get("column_list", [])]


def format_value(value: Any) -> str:
    """Format a value for a reason; the text does not depend on the type of its column."""
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    if not isinstance(value, (list, dict)) and pd.isna(value):
        return "missing"
    if isinstance(value, (int, float, np.number)):
        return f"{value:.12g}"
    return str(value)
