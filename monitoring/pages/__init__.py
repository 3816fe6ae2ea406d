"""HTML pages and figures.

- `layout.py`: pages from Jinja templates, which stand beside the modules as `*.html.j2`; SVG
- `document.html.j2`: frame and style of every page; `parts.html.j2`: tables and other parts
- `charts.py`: figures of an evaluation, and the helpers of all figures
- `monitoring_page.py`: the page of a monitoring run and its figures
- `drift_report.py`: Evidently's report and workspace
- `year_charts.py`: figures of a replay
"""
