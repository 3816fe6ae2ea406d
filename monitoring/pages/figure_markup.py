"""Figures as SVG and HTML, with caption and description."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from html import escape

from matplotlib import rc_context
from matplotlib.figure import Figure


def figure_to_svg(figure: Figure, name: str) -> str:
    """Return the figure as an SVG element; text stays text, in the page's font.

    The same figure gives the same bytes, so reports are reproducible. `name` keeps the ids of one
    page's figures distinct.
    """
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    # Ids of groups repeat across figures, and nothing refers to them.
    return re.sub(r'<g id="[^"]*"', "<g", text[text.index("<svg") :])


def figure_html(title: str, caption: str, figure: Figure) -> str:
    """Return an HTML figure with caption and description; its title is unique on the page."""
    return (
        f"<figure><figcaption>{escape(title)} <small>{escape(caption)}</small></figcaption>"
        f'<div role="img" aria-label="{escape(title)}: {escape(caption)}">'
        f"{figure_to_svg(figure, title)}</div></figure>"
    )


def figure_grid(figures: Iterable[tuple[str, str, Figure]]) -> str:
    """Return HTML figures side by side; each has a title, a caption and the figure."""
    return f'<div class="plots">{"".join(figure_html(*each) for each in figures)}</div>'
