"""The report on the replayed policies (`mlops report`): one page, with the summary first."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from features import durable_files
from monitoring.pages import year_charts
from monitoring.pages.layout import render_page
from monitoring.retraining_decision import ALERT_ONLY
from pipelines.replay import (
    agreement,
    fast_replay,
    platform_figures,
    policies,
    served_record,
    served_replay,
)
from settings import Settings, UserError

DAYS_AFTER_RELEASE = 7


def write_replay_page(settings: Settings, first: datetime, end: datetime) -> Path:
    """Write `reports/year.html`. Raises `UserError` without a replay of the period."""
    days, params = read_replayed_days(settings, first, end), settings.params()
    rows = policies.compare_policies(days, params["replay"]["prices"], params["seed"])
    default = params["replay"]["default"]
    row = next((each for each in rows if each["policy"] == default), rows[-1])
    own = days[row["policy"]]
    shipped = [name for name in days if name in params["replay"]["policies"]]
    retraining = [name for name in shipped if name != policies.NEVER_POLICY]
    heads, cells = policies.policy_cells(rows, params["replay"]["prices"])
    limit = params["monitoring"]["policy"]["max_calibration_gap"]
    page = render_page(
        "pipelines/replay/replay_page.html.j2", row=row, default=default,
        days=own["day"].tolist(), n_fired=sum(own["fired"].map(len, na_action="ignore") > 0),
        heads=heads, policies=cells, releases=_releases(own), decisions=_decisions(own),
        platform=read_platform(settings, first, end),
        cost=("Cost by week", "a dot marks a release to all traffic",
              year_charts.weekly_cost_figure(days, shipped)),
        figures=[
            ("Saving against never", "in units of one false alarm",
             year_charts.cumulative_saving_figure(days, retraining)),
            ("Calibration", "red: releases; dashed: the limit of the trigger `calibration`",
             year_charts.bias_figure(own, limit)),
            ("Label delay", "median of the window", year_charts.label_delay_figure(own)),
        ],
        drift=("Drift by feature and week", "distance as a multiple of its limit; 1 has drifted",
               year_charts.drift_heatmap(own)),
    )  # fmt: skip
    path = settings.state / "reports" / "year.html"
    durable_files.write_file(path, page)
    return path


def read_platform(settings: Settings, first: datetime, end: datetime) -> dict[str, Any] | None:
    """Return the figures of the default policy's served replay, and their `rows`, if it has run."""
    default = settings.params()["replay"]["default"]
    own = served_replay.replay_home(settings, first, default)
    served = pd.DataFrame(
        served_record.read_day_records(served_record.records_folder(own))[: (end - first).days]
    )
    if served.empty:
        return None
    fast = _read_days(fast_replay.replay_folder(settings, first, default)).head(len(served))
    comparable = len(fast) == len(served)
    agreed = agreement.format_agreement(served, fast) if comparable else "not replayed"
    figures = platform_figures.platform_figures(own, served)
    return figures | {"rows": platform_figures.format_figures(figures, agreed)}


def read_replayed_days(
    settings: Settings, first: datetime, end: datetime
) -> dict[str, pd.DataFrame]:
    """Return the days of each completely replayed policy, those of the parameters first."""
    folder = fast_replay.replay_folder(settings, first, "x").parent
    known = list(settings.params()["replay"]["policies"])
    found = sorted(path.parent.name for path in folder.glob(f"*/{served_record.DAYS_FILE}"))
    names = [name for name in known if name in found]
    names += [name for name in found if name not in known]
    n_days = (end - first).days
    days = {name: _read_days(folder / name).head(n_days) for name in names}
    complete = {name: frame for name, frame in days.items() if len(frame) == n_days}
    if policies.NEVER_POLICY not in complete or len(complete) < 2:
        raise UserError(
            f"No policy beside `never` was replayed from {first:%Y-%m-%d} to {end:%Y-%m-%d}. Run "
            f"`mlops replay --fast --from {first:%Y-%m-%d} --to {end:%Y-%m-%d} --policy all`."
        )
    return complete


def _read_days(folder: Path) -> pd.DataFrame:
    return pd.DataFrame(served_record.read_day_records(folder))


def _releases(days: pd.DataFrame) -> list[tuple[str, list[str], str]]:
    """Return the day of each release, its bias on the day before and later, and its last step."""
    bias = days["bias"].map(lambda value: "–" if pd.isna(value) else f"{value:+.3f}")
    return [
        (days["day"][at], [bias[at - 1], bias[min(at + DAYS_AFTER_RELEASE, len(days) - 1)]],
         days["rollout"][at])
        for at in days.index[days["released"] > 0]
    ]  # fmt: skip


def _decisions(days: pd.DataFrame) -> list[tuple[str, bool, str, str]]:
    """Return day, success, reason and result of each training and each withdrawal."""
    rows = []
    for day in days[(days["trained"] > 0) | (days["withdrawn"] > 0)].to_dict("records"):
        refusals = [
            f"{each['gate']}: {each['told']}" for each in day["verdicts"] if not each["passed"]
        ]
        verdict = f"refused by {'; '.join(refusals)}" if refusals else "passed every gate"
        result = day["rollout"] if day["withdrawn"] else verdict
        reason = str(day["reason"]).split(f"; {ALERT_ONLY}")[0]
        rows.append((day["day"], not (refusals or day["withdrawn"]), reason, result))
    return rows
