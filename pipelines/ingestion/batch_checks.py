"""Which rows of new batches are broken, and which batch must be refused as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from features import column_types
from pipelines.ingestion import batch_facts, expectation_suites
from settings import UserError

# By row number: the rules that a row breaks, each with the row's values.
RowReasons = dict[int, dict[str, str]]


@dataclass(frozen=True)
class FeedRules:
    """What is asked of a feed: see `schema`, `expectations` and `facts` of the use case."""

    schema: pa.Schema
    key: list[str]
    checks: Callable[[pd.DataFrame], pd.DataFrame]
    rows: list[Any]
    batches: list[Any]
    facts: Callable[[pd.DataFrame], dict[str, float]] = lambda rows: {}  # beside those of any batch


@dataclass
class CheckedBatches:
    """The accepted days with reasons against their rows; the day refused, if one was, and why."""

    accepted: dict[date, tuple[pa.Table, RowReasons]] = field(default_factory=dict)
    refused: date | None = None
    why: list[str] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)


def check_batches(
    feed: str, tables: dict[date, pa.Table], before: dict[date, list[int]], rules: FeedRules
) -> CheckedBatches:
    """Judges batches of `feed`, in the order of days, up to the first that is refused.

    `before` holds for each day the row counts of the batches in its history.
    """
    verdict = CheckedBatches()
    fitted = {day: column_types.conform(table, rules.schema) for day, table in tables.items()}
    schemas = pd.DataFrame(
        {"schema": [batch_facts.schema_text(one.schema) for one in fitted.values()]}
    )
    expected = expectation_suites.schema_expectations(batch_facts.schema_text(rules.schema))
    days = _accepted(verdict, expected, list(fitted), schemas, f"{feed}_schema")
    if days:
        parts = [fitted[day] for day in days]
        reasons = _row_reasons(verdict, rules, days, parts, f"{feed}_rows")
        facts = [
            batch_facts.compute_batch_facts(
                rows, day, key=rules.key, n_quarantined=len(against), before=before[day],
            )
            | rules.facts(rows)
            for day, rows, against in zip(
                days, (part.to_pandas() for part in parts), reasons, strict=True
            )
        ]  # fmt: skip
        kept = _accepted(verdict, rules.batches, days, pd.DataFrame(facts), f"{feed}_batches")
        verdict.accepted = dict(zip(kept, zip(parts, reasons, strict=True), strict=False))
    return verdict


def recheck_accepted(feed: str, tables: dict[date, pa.Table], rules: FeedRules) -> CheckedBatches:
    """Judges the rows of batches that were accepted before by other rules; refuses none.

    A column that a batch lacks was declared later: it is null, and no rule is asked of it. Raises
    `UserError` if a batch can't be converted to the types that are declared now.
    """
    verdict, parts = CheckedBatches(), []
    for day, table in tables.items():
        try:
            parts.append(column_types.widen(table, rules.schema))
        except ValueError as error:
            raise UserError(
                f"The accepted batch of {feed} for {day} does not fit usecase/schema.py: {error}. "
                "It stays as it was. Declare a type that holds the old values, or give the column "
                "another name; then run `mlops ingest` again."
            ) from error
    reasons = _row_reasons(verdict, rules, list(tables), parts, f"{feed}_again_rows")
    for (day, table), part, against in zip(tables.items(), parts, reasons, strict=True):
        later = set(rules.schema.names) - set(table.schema.names)
        unasked = {rule.meta["rule"] for rule in rules.rows if later & set(_columns(rule))}
        held = {
            row: {name: seen for name, seen in broken.items() if name not in unasked}
            for row, broken in against.items()
        }
        verdict.accepted[day] = part, {row: broken for row, broken in held.items() if broken}
    return verdict


def _accepted(
    verdict: CheckedBatches, rules: Sequence[Any], days: list[date], facts: pd.DataFrame, suite: str
) -> list[date]:
    """The days before the first that breaks one of `rules`, which is noted in `verdict`."""
    broken, result = expectation_suites.run_suite(rules, facts, suite)
    verdict.results.append(result)
    first = min((number for numbers in broken.values() for number in numbers), default=None)
    if first is None:
        return days
    verdict.refused = days[first]
    verdict.why = [
        _told(rule, facts.iloc[first]) for rule in rules if first in broken[rule.meta["rule"]]
    ]
    return days[:first]


def _told(rule: Any, facts: pd.Series) -> str:
    """A broken batch rule: its name, what was observed, and the bound."""
    bounds = {name: value for name, value in rule.configuration.kwargs.items() if name != "column"}
    observed = facts[rule.column]
    if rule.column == "schema":
        difference = batch_facts.describe_schema_difference(observed, *bounds["value_set"])
        return f"{rule.meta['rule']}: {difference}"
    shown = round(observed, 4) if isinstance(observed, float) else observed
    bound = ", ".join(f"{name} {format_value(value)}" for name, value in bounds.items())
    return f"{rule.meta['rule']}: {rule.column} is {format_value(shown)}, expected {bound}"


def _row_reasons(
    verdict: CheckedBatches, rules: FeedRules, days: list[date], parts: list[pa.Table], suite: str
) -> list[RowReasons]:
    """For each part, the reasons against its rows, in the order of rules."""
    sizes = [part.num_rows for part in parts]
    rows = pa.concat_tables(parts).to_pandas()
    rows["batch_day"] = np.repeat(pd.DatetimeIndex(days, tz="UTC"), sizes)
    rows["known_day"] = rows["known_at"].dt.floor("D")
    rows = rules.checks(rows)
    asked = [*expectation_suites.known_at_expectations(), *rules.rows]
    broken, result = expectation_suites.run_suite(asked, rows, suite)
    verdict.results.append(result)
    starts = np.cumsum([0, *sizes])
    found: list[RowReasons] = [{} for _ in parts]
    for rule in asked:
        for number in broken[rule.meta["rule"]]:
            part = int(np.searchsorted(starts, number, side="right")) - 1
            values = ", ".join(
                f"{name}={format_value(rows.at[number, name])}" for name in _columns(rule)
            )
            found[part].setdefault(number - int(starts[part]), {})[rule.meta["rule"]] = values
    return found


def _columns(rule: Any) -> list[str]:
    asked = rule.configuration.kwargs
    named = [asked[name] for name in ("column", "column_A", "column_B") if name in asked]
    return [*named, *asked.get("column_list", [])]


def format_value(value: Any) -> str:
    """A value as it stands in a reason: the same whatever type its column has by chance."""
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    if not isinstance(value, (list, dict)) and pd.isna(value):
        return "missing"
    if isinstance(value, (int, float, np.number)):
        return f"{value:.12g}"
    return str(value)
