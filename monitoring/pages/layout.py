"""The HTML frame, style and tables that all pages share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

PAGE_STYLE = """
:root { color-scheme: light; --ink: #1e293b; --soft: #64748b; --line: #e2e8f0;
  --good: #15803d; --bad: #b91c1c }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1000px; padding: 24px 20px 64px; color: var(--ink);
  background: #fff; font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
h1 { margin: 0; font-size: 26px } h2 { margin: 40px 0 8px; font-size: 18px }
p { margin: 4px 0 } .soft, figcaption small { color: var(--soft) }
.outcome { margin: 20px 0; padding: 14px 18px; border-left: 5px solid var(--good);
  background: #f0fdf4; border-radius: 4px }
.outcome.none { border-color: var(--bad); background: #fef2f2 }
.outcome strong { font-size: 18px } .outcome ul { margin: 8px 0 0; padding-left: 20px }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: 14px;
  font-variant-numeric: tabular-nums }
th, td { padding: 5px 8px; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: top }
th { color: var(--soft); font-weight: 500 }
.number { text-align: right } td.number { white-space: nowrap }
tbody th { color: var(--ink) } tr.refused td { background: #fef2f2 } .told { min-width: 220px }
.mark { color: var(--good); white-space: nowrap } .refused .mark { color: var(--bad) }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr));
  gap: 28px 32px; align-items: start }
figure { margin: 0 } figcaption { font-weight: 600; margin-bottom: 4px }
figcaption small { display: block; font-weight: 400 }
svg { width: 100%; max-width: 520px; height: auto } svg text { font-family: inherit !important }
.full [role=img] { overflow-x: auto } .full svg { max-width: none; min-width: 640px }
details { margin-top: 16px } summary { cursor: pointer; color: var(--soft) }
"""


def render_document(title: str, sections: Iterable[str]) -> str:
    """Return a self-contained page; `sections` are HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{PAGE_STYLE}</style></head>\n<body>\n" + "\n".join(sections) + "\n</body></html>\n"
    )


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
