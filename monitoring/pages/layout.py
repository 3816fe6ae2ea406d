"""HTML pages from Jinja templates, with the frame and the tables that all share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from monitoring.pages import figure_markup


def render_page(template: str, **values: Any) -> str:
    """Return a self-contained page; `template` is a path below the source root.

    Templates escape all texts. A value that the template needs and does not get is an error.
    """
    return _templates().get_template(template).render(values)


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).resolve().parents[2]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = figure_markup.figure_to_svg
    return environment


def render_document(title: str, sections: Iterable[str]) -> str:
    """Return a self-contained page; `sections` are HTML."""
    return render_page("monitoring/pages/document.html.j2", title=title, sections=sections)


def render_table(heads: Sequence[str], rows: Iterable[str]) -> str:
    """Return a table of `rows` (HTML) that scrolls if it is too wide; `*…` heads are of numbers."""
    cells = "".join(
        f'<th class="number">{escape(head[1:])}</th>' if head.startswith("*")
        else f"<th>{escape(head)}</th>" for head in heads
    )  # fmt: skip
    return (
        f'<div class="wide"><table><thead><tr>{cells}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def number_cells(texts: Iterable[str]) -> str:
    return "".join(f'<td class="number">{escape(text)}</td>' for text in texts)
