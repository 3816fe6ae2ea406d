"""What a change of the code does to the model: measured on a slice and compared with main.

- `report.py`: the command behind `make report`, and the reasons to refuse a change
- `measurement.py`: trains a checkout, or another commit, on the slice
- `report_markdown.py`: the report as a pull request shows it
"""
