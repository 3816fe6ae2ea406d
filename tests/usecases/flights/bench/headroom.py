"""Measure what features from departures would gain over the shipped ones.

The shipped features count a flight when it has landed, hours after its delay began. A feed of
departures would show it earlier. Here its features are computed from the actual departure times,
known at the next full hour, for each origin, carrier at an origin, route and destination. Models
with and without them are refitted every eight weeks, and so is the no-model baseline.
"""

import sys
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
from fortnights import fit, predict
from retraining import STARTS
from year import END, cases

from monitoring.measures import scores as evaluation
from tests.use_case import FEATURES, USE_CASE
from usecases.flights import FIRST_DAY, LAST_DAY, model, target

HOUR = timedelta(hours=1)
LATE, SHORTEST, LONGEST = 15, -30, 240  # minutes
WINDOWS = (2, 4)  # hours
PERIOD = timedelta(weeks=8)


def main() -> None:
    settings, frame = cases()
    params = settings.params()
    added = departure_columns(frame)
    wider = pd.concat([frame, added], axis=1)
    found: dict[str, list[np.ndarray]] = {
        "the baseline": [],
        "as shipped": [],
        "with departures": [],
    }
    labels = []
    start = STARTS[0]
    while start < END:
        decided, known = frame["decision_time"], (frame["known_at"] < start).to_numpy()
        targets = ((decided >= start) & (decided < start + PERIOD)).to_numpy()
        found["the baseline"].append(model.baseline(frame[known], frame[targets]))
        found["as shipped"].append(predict(fit(frame[known], params), frame[targets]))
        found["with departures"].append(_predict_with(wider, list(added), known, targets, params))
        labels.append(frame.loc[targets, "label"].to_numpy())
        print(f"headroom: {start:%d %B} is done", file=sys.stderr, flush=True)
        start += PERIOD
    y = np.concatenate(labels)
    print("\n## Features from departures (`tests/usecases/flights/bench/headroom.py`)\n")
    print(f"April to December, {len(y):,} cases, refitted every 8 weeks; {len(added.columns)} more "
          "columns.\n")  # fmt: skip
    print("| | AUC | cost per 1,000 | saved against the baseline |\n|---|---|---|---|")
    by_model = {
        name: evaluation.metrics(y, np.concatenate(parts), params["costs"])
        for name, parts in found.items()
    }
    usual = by_model["the baseline"]["cost_per_1000"]
    for name, each in by_model.items():
        cost = each["cost_per_1000"]
        print(f"| {name} | {each['auc']:.3f} | {cost:.1f} | {1 - cost / usual:.1%} |")


def _predict_with(
    frame: pd.DataFrame, added: list[str], known: np.ndarray, targets: np.ndarray,
    params: dict[str, Any],
) -> np.ndarray:  # fmt: skip
    """Return the probabilities of a model that also sees the columns `added`."""
    pipeline, space = model.build_candidates(params)["gradient_boosting"]
    wider = [
        (name, encoder, [*columns, *added] if name == "numbers" else columns)
        for name, encoder, columns in pipeline.named_steps["encode"].transformers
    ]
    first = {name: values[0] for name, values in space.items()}
    pipeline.set_params(**first, encode__transformers=wider)
    seen = [*FEATURES, *added]
    pipeline.fit(frame.loc[known, seen], frame.loc[known, "label"])
    return np.asarray(pipeline.predict_proba(frame.loc[targets, seen])[:, 1])


def departure_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the added columns for the rows of `frame`, as known at their decision times."""
    days = pd.date_range(FIRST_DAY, LAST_DAY).date
    flights = pd.concat(
        [USE_CASE.fetch(USE_CASE.label_feed, day) for day in days], ignore_index=True
    )
    at = _hour(frame["decision_time"] - timedelta(minutes=2))
    pairs = {
        "origin": (flights["origin"], frame["origin"]),
        "carrier": (flights["carrier"] + flights["origin"], frame["carrier"] + frame["origin"]),
        "route": (flights["origin"] + flights["dest"], frame["origin"] + frame["dest"]),
        "dest": (flights["dest"], frame["dest"]),
    }
    found: dict[str, np.ndarray] = {}
    for name, (theirs, ours) in pairs.items():
        found |= _entity_columns(name, flights, theirs, ours, at)
    found |= _plane_columns(flights, frame)
    return pd.DataFrame(found, index=frame.index)


def _plane_columns(flights: pd.DataFrame, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the delay and age of the plane's last departure, and the flights due in its hour."""
    tails = pd.Series(flights["tailnum"].to_numpy(), index=target.key(flights))
    gone = flights.dropna(subset=["tailnum", "dep_delay"])
    left = gone["sched_dep"] + pd.to_timedelta(gone["dep_delay"], unit="min")
    known = pd.DataFrame({
        "tailnum": gone["tailnum"], "delay": gone["dep_delay"], "left": left,
        "at": left.dt.ceil("h") + timedelta(minutes=2),
    }).sort_values("at")  # fmt: skip
    targets = pd.DataFrame({
        "tailnum": tails.reindex(frame["key"]).to_numpy(), "at": frame["decision_time"].to_numpy(),
        "row": np.arange(len(frame)),
    }).dropna(subset=["tailnum"])  # fmt: skip
    targets["at"] = pd.to_datetime(targets["at"], utc=True).astype(known["at"].dtype)
    last = pd.merge_asof(
        targets.sort_values("at"), known, on="at", by="tailnum", tolerance=timedelta(hours=16)
    ).set_index("row").reindex(range(len(frame)))  # fmt: skip
    hour = frame["decision_time"].dt.floor("h")
    beside = frame.groupby(["origin", hour])["key"].transform("size")
    since = (frame["decision_time"].reset_index(drop=True) - last["left"]) / HOUR
    return {
        "plane_left_late": last["delay"].to_numpy(), "plane_left_since": since.to_numpy(),
        "origin_due": beside.to_numpy(dtype="float64"),
    }  # fmt: skip


def _entity_columns(
    name: str, flights: pd.DataFrame, theirs: pd.Series, ours: pd.Series, at: np.ndarray
) -> dict[str, np.ndarray]:
    codes, _ = pd.factorize(pd.concat([theirs, ours], ignore_index=True))
    entity, targets = codes[: len(theirs)], codes[len(theirs) :]
    delay = flights["dep_delay"]
    gone = delay.notna().to_numpy()
    minutes = delay.clip(SHORTEST, LONGEST).fillna(0).to_numpy()
    due = _hour(flights["sched_dep"]) + 1
    left = _hour(flights["sched_dep"] + pd.to_timedelta(delay.fillna(0), unit="min")) + 1
    first = due.min() - 2 * max(WINDOWS)
    shape = (codes.max() + 1, due.max() - first + 60)

    def cumulate(hours: np.ndarray, rows: np.ndarray, weights: np.ndarray | float) -> np.ndarray:
        """Return cumulative sums of `weights` by entity and hour."""
        grid = np.zeros(shape)
        np.add.at(
            grid, (entity[rows], hours[rows] - first), np.broadcast_to(weights, rows.shape)[rows]
        )
        return np.cumsum(grid, axis=1)

    at, everyone = at - first, np.ones(len(flights), dtype=bool)
    n, late = cumulate(left, gone, 1.0), cumulate(left, gone, (minutes >= LATE).astype(float))
    total, planned = cumulate(left, gone, minutes), cumulate(due, everyone, 1.0)
    found = {}
    for hours in WINDOWS:

        def within(grid: np.ndarray, hours: int = hours) -> np.ndarray:
            return np.asarray(grid[targets, at] - grid[targets, at - hours])

        with np.errstate(invalid="ignore", divide="ignore"):
            found[f"{name}_left_late_{hours}h"] = within(late) / within(n)
            found[f"{name}_left_delay_{hours}h"] = within(total) / within(n)
    # Flights that were due in the last hours and have not left.
    longest = max(WINDOWS)
    waiting = planned[targets, at] - planned[targets, at - longest]
    for ago in range(longest):
        in_time = cumulate(due, gone & (left - due <= ago), 1.0)
        waiting -= in_time[targets, at - ago] - in_time[targets, at - ago - 1]
    return found | {f"{name}_overdue": waiting}


def _hour(times: pd.Series) -> np.ndarray:
    return times.astype("datetime64[us, UTC]").astype("int64").to_numpy() // 3_600_000_000


if __name__ == "__main__":
    main()
