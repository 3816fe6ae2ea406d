"""HTML pages and figures.

- `layout.py`: frame, style and tables of every page
- `charts.py`: figures of an evaluation, and the helpers of all figures
- `figure_markup.py`: figures as SVG and HTML
- `monitoring_page.py`: the page of a monitoring run; `monitoring_figures.py`: its figures
- `drift_report.py`: Evidently's report and workspace
- `year_charts.py`: figures of a replay
"""
