"""Figures of a replay's days, by policy."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from monitoring.pages import charts

DaysByPolicy = Mapping[str, pd.DataFrame]
BASELINE_COLOUR = charts.ROLE_COLOURS["baseline"]


def weekly_cost_figure(days: DaysByPolicy, names: Sequence[str]) -> Figure:
    """Plot each policy's weekly cost per 1,000 cases; a dot marks a release to all traffic."""
    figure, axes = charts.new_axes("", "cost per 1,000 cases", width=9.6, dates=True)
    for name, colour in _colours(names).items():
        weeks = weekly_totals(days[name])
        axes.plot(weeks["day"], weeks["per_1000"], color=colour, linewidth=1.6, label=name)
        released = weeks[weeks["released"] > 0]
        axes.scatter(released["day"], released["per_1000"], color=colour, s=26, zorder=3)
    _fit(axes)
    return figure


def cumulative_saving_figure(days: DaysByPolicy, names: Sequence[str]) -> Figure:
    """Plot each policy's cumulative saving against `never`, in units of one false alarm."""
    figure, axes = charts.new_axes("", "cumulative saving against never", dates=True)
    for name, colour in _colours(names).items():
        gain = (days["never"]["cost"].to_numpy() - days[name]["cost"].to_numpy()).cumsum()
        axes.plot(_moments(days[name]), gain, color=colour, linewidth=1.6, label=name)
    axes.axhline(0, color=charts.GRID_COLOUR, linewidth=1)
    _fit(axes)
    return figure


def bias_figure(frame: pd.DataFrame, limit: float) -> Figure:
    """Plot mean prediction - mean outcome in the window, by day, with the releases."""
    figure, axes = charts.new_axes("", "mean prediction - mean outcome", dates=True)
    known = frame.dropna(subset="bias")
    for since, part in known.groupby((known["champion"] != known["champion"].shift()).cumsum()):
        axes.plot(_moments(part), part["bias"], color=charts.CANDIDATE_COLOURS[0], linewidth=1.6,
                  label="live" if since == 1 else None)  # fmt: skip
    for day in _moments(frame[frame["released"] > 0]):
        axes.axvline(day, color=charts.LABEL_COLOURS[1], linewidth=0.8, alpha=0.6)
    for side in (-limit, limit):
        axes.axhline(side, color=BASELINE_COLOUR, linewidth=1, linestyle="--")
    return figure


def drift_heatmap(frame: pd.DataFrame) -> Figure:
    """Plot the weekly drift of each feature, as a multiple of its limit; the largest on top."""
    known = frame.dropna(subset="drift")
    table = pd.DataFrame(list(known["drift"]), index=_moments(known)).resample("7D").mean()
    table = table.loc[:, table.mean().sort_values(ascending=False).index]
    figure, axes = charts.new_axes("", "", height=1.2 + 0.17 * table.shape[1], width=9.6)
    mesh = axes.pcolormesh(table.to_numpy().T, cmap="Blues", vmin=0, vmax=1.5)
    axes.set_yticks(np.arange(table.shape[1]) + 0.5, [str(name) for name in table], fontsize=7)
    every = max(1, len(table) // 9)
    axes.set_xticks(
        np.arange(0, len(table), every) + 0.5, [f"{day:%d %b}" for day in table.index[::every]]
    )
    axes.invert_yaxis()
    axes.grid(visible=False)
    bar = figure.colorbar(mesh, ax=axes, shrink=0.3, pad=0.01)
    bar.ax.tick_params(labelsize=8)
    return figure


def label_delay_figure(frame: pd.DataFrame) -> Figure:
    """Plot the median hours from decision to label, by day."""
    figure, axes = charts.new_axes("", "hours to the label, median", dates=True)
    known = frame.dropna(subset="delay_hours")
    axes.plot(_moments(known), known["delay_hours"], color=charts.CANDIDATE_COLOURS[3])
    axes.set_ylim(0, max(1.0, known["delay_hours"].max() * 1.3))
    return figure


def weekly_totals(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row per week: its first `day`, `per_1000`, `released`."""
    grouped = frame.assign(day=_moments(frame)).resample("7D", on="day")
    sums = grouped[["cost", "n", "released"]].sum().reset_index()
    return sums.assign(per_1000=1000 * sums["cost"] / sums["n"].clip(lower=1))


def _colours(names: Sequence[str]) -> dict[str, str]:
    rest = [name for name in names if name != "never"]
    return dict.fromkeys(names, BASELINE_COLOUR) | charts.model_colours(rest)


def _moments(frame: pd.DataFrame) -> pd.Series:
    return pd.to_datetime(frame["day"])


def _fit(axes: Axes) -> None:
    charts.add_legend(axes, "upper left", fontsize=8, ncols=3)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.25 * (high - low))
