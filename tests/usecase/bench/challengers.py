"""How soon does shadow tell a bad challenger from a healthy one, on January to March?

At each moment a champion is what a fortnight before would have trained, and every challenger is
mirrored on the fortnight after. The limits of `rollout` in `usecase/params.yaml` come from here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
from fortnights import FORTNIGHT, MOMENTS, ask, fit
from year import cases

from monitoring import sequential

Frames = Iterator[tuple[str, pd.DataFrame]]
SEQUENCE = ("spread", "alpha", "focus")


def main() -> None:
    settings, frame = cases()
    params = settings.params()
    policy = params["rollout"]["shadow"]
    table = pd.DataFrame([row for moment in MOMENTS for row in at(frame, moment, params)])
    print("\n## Challengers in shadow (`tests/usecase/bench/challengers.py`)\n")
    print(f"{len(MOMENTS)} moments of January to March, a week apart; a fortnight of shadow each;")
    print(f"withdrawn when surely more than {policy['margin_cost']:g} per 1,000 cases worse.\n")
    print("| challenger | cost beyond the champion's | standard deviation of a day | withdrawn |"
          " days, median | labels, median | scores moved by | withdrawn within 60 days |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    for name, part in table.groupby("challenger", sort=False):
        gone = part["day"].notna()
        print(f"| {name} | {part['difference'].median():+.0f} ({part['difference'].min():+.0f} to "
              f"{part['difference'].max():+.0f}) | {part['spread'].median():.0f} (at most "
              f"{part['spread'].max():.0f}) | {gone.sum()} of {len(part)} | "
              + (f"{part['day'].median():.0f} | {part['labels'].median():,.0f}"
                 if gone.any() else "- | -")
              + f" | {part['moved'].median():+.3f} ({part['moved'].min():+.3f} to "
              f"{part['moved'].max():+.3f}) | {resampled(table, name, policy):.1%} |")  # fmt: skip


def at(frame: pd.DataFrame, moment: Any, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row per challenger of `moment`: its difference, and the day on which it is withdrawn."""
    print(f"challengers: {moment:%d %B}", file=sys.stderr, flush=True)
    policy = params["rollout"]["shadow"]
    decided = frame["decision_time"]
    window = frame[(decided >= moment) & (decided < moment + FORTNIGHT)]
    champion = ask(fit(frame[frame["known_at"] < moment - timedelta(days=14)], params), window)
    for name, rival in challengers(frame[frame["known_at"] < moment], window, champion, params):
        paired = window[["decision_time", "label"]].assign(probability=champion, rival=rival)
        days = sequential.daily_difference(paired, params["costs"], min_labels=policy["day_labels"])
        difference = days["difference"].to_numpy()
        day = stopped(difference, policy)
        yield {
            "challenger": name, "difference": float(difference.mean()),
            "spread": float(difference.std(ddof=1)), "days": difference, "day": day,
            "labels": days["n"].iloc[: int(day)].sum() if day == day else np.nan,
            "moved": float(np.mean(rival - champion)),
        }  # fmt: skip


def challengers(
    known: pd.DataFrame, window: pd.DataFrame, champion: np.ndarray, params: dict[str, Any]
) -> Iterator[tuple[str, np.ndarray]]:
    """The scores on `window` of a healthy challenger, and of ever worse ones."""
    rng = np.random.default_rng(params["seed"])
    healthy = ask(fit(known, params), window)
    yield "healthy: refitted a fortnight later", healthy
    yield (
        "other seed of the same rows",
        ask(fit(known.sample(frac=0.9, random_state=params["seed"]), params), window),
    )
    yield "trained on 2,000 cases", ask(fit(known.iloc[-2000:], params), window)
    yield (
        "half of the labels shuffled",
        ask(fit(known.assign(label=part_shuffled(known["label"], 0.5, rng)), params), window),
    )
    yield (
        "all labels shuffled",
        ask(fit(known.assign(label=part_shuffled(known["label"], 1.0, rng)), params), window),
    )
    yield "labels the wrong way round", ask(fit(known.assign(label=1 - known["label"]), params),
                                            window)  # fmt: skip
    yield "scores too low by 0.10", np.clip(healthy - 0.10, 0, 1)
    yield "scores too high by 0.10", np.clip(healthy + 0.10, 0, 1)


def part_shuffled(labels: pd.Series, share: float, rng: np.random.Generator) -> np.ndarray:
    values = labels.to_numpy().copy()
    chosen = np.flatnonzero(rng.random(len(values)) < share)
    values[chosen] = rng.permutation(values[chosen])
    return values


def stopped(difference: np.ndarray, policy: dict[str, Any]) -> float:
    """The day, from 1, on which it would be withdrawn; NaN if never."""
    settings = {name: policy[name] for name in SEQUENCE}
    for day in range(1, len(difference) + 1):
        if sequential.sequence(difference[:day], **settings).low > policy["margin_cost"]:
            return float(day)
    return np.nan


def resampled(table: pd.DataFrame, name: Any, policy: dict[str, Any], runs: int = 300) -> float:
    """The share withdrawn when its days are drawn anew, for 60 days of daily looking."""
    days = np.concatenate(table.loc[table["challenger"] == name, "days"].to_list())
    rng = np.random.default_rng(0)
    found = [stopped(rng.choice(days, 60), policy) for _ in range(runs)]
    return float(np.mean(~np.isnan(found)))


if __name__ == "__main__":
    main()
