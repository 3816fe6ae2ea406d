"""Publication of a drift report: as an HTML page, and as a run in Evidently's workspace."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from features import durable_files
from monitoring.measures.evidently_drift import PREDICTION, quiet_evidently_imports

PROJECT = "Monitoring"
PANELS = (
    ("Share of drifted features", "DriftedColumnsCount", {"value_type": "share"}),
    ("Drift of the predictions", "ValueDrift", {"column": PREDICTION}),
)


def publish_drift_report(
    snapshot: Any, html: Path, workspace: Path, *, name: str, as_of: datetime
) -> None:
    """Write the report to `html` and the run `name` to the Evidently workspace.

    The ids of project and run follow from their names, so a run published again replaces itself.
    """
    with quiet_evidently_imports():
        from evidently.sdk.models import PanelMetric, ProjectModel
        from evidently.sdk.panels import line_plot_panel
        from evidently.ui.workspace import Workspace
    with durable_files.atomic_replace(html) as draft:
        snapshot.save_html(str(draft))
    space = Workspace(str(workspace))
    identity = uuid5(NAMESPACE_URL, f"mlops:{PROJECT}")
    project = space.get_project(identity)
    if project is None:
        project = space.add_project(ProjectModel(id=identity, name=PROJECT))
        for title, metric, labels in PANELS:
            value = PanelMetric(metric=metric, metric_labels=labels, legend=title)
            project.dashboard.add_panel(line_plot_panel(title, [value]))
    model = snapshot.to_snapshot_model()
    model.name, model.timestamp = name, as_of
    # Not `add_run`: it draws a new id, so a rerun would appear twice.
    space.state.write_snapshot(identity, uuid5(identity, name), model)
