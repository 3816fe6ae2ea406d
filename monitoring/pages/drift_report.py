"""Evidently's report on drift: an HTML page, and a run in Evidently's workspace."""

import warnings
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np
import pandas as pd

from features import durable_files
from monitoring.measures.drift import CATEGORY, NUMBER, PREDICTION, TARGET

PROJECT = "Monitoring"
PANELS = (
    ("Share of drifted features", "DriftedColumnsCount", {"value_type": "share"}),
    ("Drift of the predictions", "ValueDrift", {"column": PREDICTION}),
)


def publish_drift_report(
    samples: Sequence[pd.DataFrame], html: Path, workspace: Path, *, categories: Sequence[str],
    limits: dict[str, Any], name: str, as_of: datetime,
) -> None:  # fmt: skip
    """Write the report on the rows of `measure_drift` to `html`, and a run to the workspace.

    The ids of project and run follow from their names, so a run published again replaces itself.
    """
    snapshot = run_report(*samples, categories=categories, limits=limits)
    # Evidently's own dependencies cause these warnings on import.
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
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


def run_report(
    reference: pd.DataFrame, current: pd.DataFrame, *, categories: Sequence[str],
    limits: dict[str, Any],
) -> Any:  # fmt: skip
    """Return Evidently's snapshot; it measures each column four times and draws it."""
    categories = [*categories, TARGET]
    features = [name for name in current if name not in (PREDICTION, TARGET)]
    # Evidently's own dependencies cause these warnings on import.
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import ValueDrift
        from evidently.presets import DataDriftPreset
    # Without the declaration a target of 0 and 1 would be taken for a number.
    definition = DataDefinition(
        numerical_columns=[name for name in current if name not in categories],
        categorical_columns=[name for name in current if name in categories],
    )
    rules = {
        "drift_share": limits["share"],
        "num_method": NUMBER, "num_threshold": limits["number"],
        "cat_method": CATEGORY, "cat_threshold": limits["category"],
    }  # fmt: skip
    single = [
        ValueDrift(
            column=name,
            method=CATEGORY if name in categories else NUMBER,
            threshold=limits["category"] if name in categories else limits["prediction"],
        )
        for name in (PREDICTION, TARGET)
        if name in current
    ]
    report = Report([DataDriftPreset(columns=features, **rules), *single])
    with np.errstate(invalid="ignore"):  # the report also correlates columns of a single value
        return report.run(
            Dataset.from_pandas(current, data_definition=definition),
            Dataset.from_pandas(reference, data_definition=definition),
        )
