"""The HTML page of a monitoring run: the decision on top, figures before tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from features import durable_files
from monitoring.pages import charts
from monitoring.pages.layout import render_page
from monitoring.pages.monitoring_figures import (
    daily_cost_figure,
    daily_rate_figure,
    drift_figure,
    prediction_histogram,
)


def write_monitoring_page(
    path: Path,
    result: Mapping[str, Any],
    days: pd.DataFrame,
    live: pd.DataFrame,
    reference: pd.DataFrame,
) -> None:
    """Write the page of a monitoring `result` (as `pipelines.retraining.monitor` stores it).

    `days` is the result of `performance.daily_performance`. `live` (label NaN if unknown) and
    `reference` have `label` and `probability`.
    """
    page = render_page(
        "monitoring/pages/monitoring_page.html.j2",
        result=result, as_of=f"{pd.Timestamp(result['as_of']):%Y-%m-%d %H:%M} UTC",
        labelled=f"{live['label'].notna().mean():.1%}", metrics=_metrics(result),
        figures=_figures(result, days, live, reference), number=_number, interval=_interval,
    )  # fmt: skip
    durable_files.write_file(path, page)


def _figures(
    result: Mapping[str, Any], days: pd.DataFrame, live: pd.DataFrame, reference: pd.DataFrame
) -> list[tuple[str, str, Figure]]:
    figures: list[tuple[str, str, Figure]] = []
    if result["live"]:
        both = _one_frame(live.dropna(subset="label"), reference)
        figures += [
            ("Cost", "by day of decision, per 1,000 cases",
             daily_cost_figure(days, result["expected"]["cost_per_1000"])),
            ("Predicted and observed", "by day of decision, labels known so far",
             daily_rate_figure(days)),
            ("Calibration", "on the diagonal, predictions equal observed rates",
             charts.calibration_figure(both, ["live", "evaluation"])),
        ]  # fmt: skip
    note = "with and without a label, against those of the evaluation"
    figures.append(("Predictions", note, prediction_histogram(live, reference)))
    if result["drift"]:
        note = "the features that moved most; the line marks each limit"
        if unmeasured := result["drift"].get("unmeasured"):
            note += f"; not measured: {', '.join(unmeasured)}"
        figures.append(("Drift", note, drift_figure(result["drift"])))
    return figures


def _one_frame(live: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    # The calibration figure needs one frame; each side has rows of its own.
    return pd.concat(
        [
            live[["label"]].assign(live=live["probability"], evaluation=np.nan),
            reference[["label"]].assign(live=np.nan, evaluation=reference["probability"]),
        ]
    )


def _metrics(result: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return each metric with its live value, interval and value in the evaluation."""
    live, rows = result["live"], []
    if not live:
        return []
    intervals = {
        "cost_per_1000": _interval(live, "cost", ",.0f"), "bias": _interval(live, "bias", "+.3f"),
        "saving": _interval(live, "saving", "+.3f"),
    }  # fmt: skip
    for name in (*result["expected"], "bias", "cost_without", "saving"):
        values = [_number(result[side].get(name)) for side in ("live", "expected")]
        rows.append((name.replace("_", " "), [values[0], intervals.get(name, ""), values[1]]))
    return rows


def _interval(row: Mapping[str, Any], name: str, form: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "–" if low is None else f"{low:{form}} to {high:{form}}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.3f}"
