"""How numbers and verdicts are put into words: the same way in every report and model card."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def format_number(value: float | None, sign: bool = False) -> str:
    """With as many digits as are worth reading; an en dash where there is none."""
    if value is None:
        return "–"
    if not math.isfinite(value) or 0 < abs(value) < 0.001:
        return f"{value:{'+' if sign else ''}.2g}"
    whole = float(value).is_integer()
    size = abs(value)
    digits = 0 if whole or size >= 1000 else 1 if size >= 10 else 2 if size >= 1 else 4
    return f"{value:{'+' if sign else ''},.{digits}f}"


def format_limit(verdict: Mapping[str, Any]) -> str:
    """The limit with its direction, which follows from the value and the outcome."""
    value, bound = verdict["value"], verdict["limit"]
    if value is None or bound is None:
        return format_number(bound)
    at_least = value != bound and (value > bound) == verdict["passed"]
    return f"{'≥' if at_least else '≤'} {format_number(bound)}"


def describe_refusal(verdict: Mapping[str, Any]) -> str:
    """Why a gate refused, and by how much."""
    gate = f"“{verdict['gate']}”"
    if verdict["margin"] is None:
        return f"{gate}: {verdict['told']}"
    return (
        f"{gate}: {format_number(verdict['value'])}, must be {format_limit(verdict)}, "
        f"out by {format_number(abs(verdict['margin']))} ({verdict['told']})"
    )


def large_slices(rows: Sequence[Mapping[str, Any]], share: float = 0.01) -> list[Mapping[str, Any]]:
    """The slices with at least this share of their kind's cases: in smaller ones cost is noise."""
    totals: dict[str, int] = {}
    for row in rows:
        totals[row["slice"]] = totals.get(row["slice"], 0) + row["n"]
    return [row for row in rows if row["n"] >= share * totals[row["slice"]]]


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Texts as a table in Markdown, whatever marks they hold."""
    lines = [heads, ["-"] * len(heads), *rows]
    return "\n".join("|" + "|".join(map(_cell, line)) + "|" for line in lines)


def _cell(text: str) -> str:
    for mark, written in (("\n", " "), ("|", r"\|"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(mark, written)
    return text
