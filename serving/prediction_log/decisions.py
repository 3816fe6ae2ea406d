"""Which predictions were decisions on time. Monitoring, rollout and replay count no others.

A client with a token may ask about any case at any time, and `/score` takes any features. Such
answers are logged, but nobody acted on them at the decision time.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from serving.prediction_log import reader
from settings import Settings, UserError

REASONS = ("route", "client", "late", "early")  # why a prediction does not count
LIMITS = ("routes", "clients", "early_hours", "late_hours", "max_uncounted")


def read_decisions(
    settings: Settings, *, since: datetime | None = None, until: datetime | None = None
) -> pd.DataFrame:
    """Return the decisions on time in the log, in the form of `reader.read_predictions`."""
    log = reader.read_predictions(settings.use_case, settings.predictions, since=since, until=until)
    return split_decisions(log, settings.params())[0]


def split_decisions(
    log: pd.DataFrame, params: Mapping[str, Any]
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the rows of `log` that were decisions on time, and the numbers of others by reason.

    Raises `UserError` if `monitoring.decisions` of the parameters lacks a setting.
    """
    limits = params["monitoring"].get("decisions", {})
    if absent := [name for name in LIMITS if name not in limits]:
        raise UserError(
            f"Settings are missing: {', '.join(absent)}. They belong to monitoring.decisions in "
            "the parameters. Add them."
        )
    reasons = uncounted_reasons(log, limits)
    counts = {str(reason): int(n) for reason, n in reasons.value_counts().items() if reason}
    return log[reasons == ""].reset_index(drop=True), counts


def uncounted_reasons(log: pd.DataFrame, limits: Mapping[str, Any]) -> pd.Series:
    """Return why each row of `log` is no decision on time; an empty text where it is one.

    `route`: the route does not decide. `client`: the client does not decide. `late` and `early`:
    the answer was given after or before the time in which the case is decided. Records of an older
    version have neither route, client nor time, and count.
    """
    # Two clocks show when a case was asked. A replay that continues after a pause sends old cases:
    # the simulated clock has moved on, but the store is published for their time. In production
    # the store may be published late. So an answer is late or early only if both clocks say so.
    clocks = [
        ((log[name] - log["decision_time"]) / pd.Timedelta(hours=1)).to_numpy(dtype="float64")
        for name in ("asked_at", "published_until")
    ]
    first, last = np.fmin(*clocks), np.fmax(*clocks)  # hours after the decision time; NaN: unknown
    other_route = log["route"].notna() & ~log["route"].isin(limits["routes"])
    other_client = log["client"].notna() & ~log["client"].isin(limits["clients"])
    conditions = {
        "route": other_route,
        "client": other_client if limits["clients"] else np.zeros(len(log), dtype=bool),
        "late": first > limits["late_hours"],
        "early": last < -limits["early_hours"],
    }
    reasons = np.select(list(conditions.values()), list(conditions), default="")
    return pd.Series(reasons, index=log.index)
