"""Numbers, limits, verdicts and metrics as text, the same in every report and model card."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def format_number(value: float | None, sign: bool = False) -> str:
    """Format a number with a readable count of digits; an en dash for None."""
    if value is None:
        return "–"
    if not math.isfinite(value) or 0 < abs(value) < 0.001:
        return f"{value:{'+' if sign else ''}.2g}"
    whole = float(value).is_integer()
    size = abs(value)
    digits = 0 if whole or size >= 1000 else 1 if size >= 10 else 2 if size >= 1 else 4
    return f"{value:{'+' if sign else ''},.{digits}f}"


def format_limit(verdict: Mapping[str, Any]) -> str:
    """Format a limit with its direction, which follows from the value and the outcome."""
    value, bound = verdict["value"], verdict["limit"]
    if value is None or bound is None:
        return format_number(bound)
    at_least = value != bound and (value > bound) == verdict["passed"]
    return f"{'≥' if at_least else '≤'} {format_number(bound)}"


def describe_refusal(verdict: Mapping[str, Any]) -> str:
    """Describe why a gate refused, and by how much."""
    gate = f"“{verdict['gate']}”"
    if verdict["margin"] is None:
        return f"{gate}: {verdict['told']}"
    return (
        f"{gate}: {format_number(verdict['value'])}, must be {format_limit(verdict)}, "
        f"off by {format_number(abs(verdict['margin']))} ({verdict['told']})"
    )


def large_slices(rows: Sequence[Mapping[str, Any]], share: float = 0.01) -> list[Mapping[str, Any]]:
    """Return the slices with this share of their kind's cases; in smaller ones cost is noise."""
    totals: dict[str, int] = {}
    for row in rows:
        totals[row["slice"]] = totals.get(row["slice"], 0) + row["n"]
    return [row for row in rows if row["n"] >= share * totals[row["slice"]]]


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table of texts; marks within the texts are escaped."""
    lines = [heads, ["-"] * len(heads), *rows]
    return "\n".join("|" + "|".join(map(escape_cell, line)) + "|" for line in lines)


def escape_cell(text: str) -> str:
    """Escape the marks that would break a cell of a Markdown table, and HTML."""
    for mark, escaped in (("\n", " "), ("|", r"\|"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(mark, escaped)
    return text


def render_text(template: str, escape: Callable[[str], str] = str, **values: Any) -> str:
    """Return plain text or Markdown; `template` is a path below the source root.

    `escape` is applied to each value that the template does not mark as safe. A value that the
    template needs and does not get is an error.
    """
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).resolve().parents[2]), undefined=StrictUndefined,
        finalize=lambda value: value if hasattr(value, "__html__") else escape(str(value)),
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  # no HTML
    )  # fmt: skip
    return templates.get_template(template).render(values)


def metric_lines(metrics: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return a line per model with its metrics on the holdout."""
    return [
        f"  {name}: AUC {each['auc']:.3f}, log-loss {each['log_loss']:.3f}, "
        f"cost per 1,000 {each['cost_per_1000']:.0f}"
        for name, each in metrics.items()
    ]
