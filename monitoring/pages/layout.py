"""HTML pages from Jinja templates, and figures in them as SVG."""

import io
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib import rc_context
from matplotlib.figure import Figure


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
    environment.filters["svg"] = figure_to_svg
    return environment


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
