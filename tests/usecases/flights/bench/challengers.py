"""How soon a shadow stops a bad challenger, and whether it stops a healthy one.

At each moment of January to March, the champion was trained on data known a fortnight before. Every
challenger is mirrored on the fortnight after. The limits of `rollout` in `params.yaml` are
set by these figures.
"""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from fortnights import FORTNIGHT, MOMENTS, fit, predict
from year import cases

from monitoring.measures import sequential
from monitoring.measures.arms import ArmEvidence
from pipelines.release import rollout_policy

EVERY = 50  # requests between two looks at the scores


def main() -> None:
    settings, frame = cases()
    params = settings.params()
    table = pd.DataFrame(
        [row for moment in MOMENTS for row in challenger_rows(frame, moment, params)]
    )
    policy = params["rollout"]
    days = params["turn"]["shadow_days"]
    shipped = policy["shadow"]["days"]
    print("\n## Challengers in shadow (`tests/usecases/flights/bench/challengers.py`)\n")
    print(f"{len(MOMENTS)} moments from January to March, a week apart.")
    print("Each has a fortnight of shadow.")
    print("Costs are per 1,000 cases. Costs and scores: the challenger's minus the champion's,")
    print("median (min to max).\n")
    print("| challenger | cost | standard deviation of a day | mean score | mean score of a day |")
    print("|---|---|---|---|---|")
    for name, part in table.groupby("challenger", sort=False):
        moved = np.concatenate(part["moved_days"].to_list())
        row = [
            name, median_and_range(part["cost"], "+.0f"), median_and_range(part["spread"], ".0f"),
            median_and_range(part["moved"], "+.3f"), f"{moved.min():+.3f} to {moved.max():+.3f}",
        ]  # fmt: skip
        print("| " + " | ".join(row) + " |")
    print("\nThe controller's decisions by cost alone, on days drawn from all moments. The shadow")
    print(f"has {days} days with labels, as in a turn, or {shipped}, as shipped; at most "
          f"{policy['shadow']['max_days']}.")  # fmt: skip
    print("The last two columns: requests until the scores alone stop it, and how often they do.\n")
    columns = (
        "challenger", f"stopped, {days} days", "after days", "labels", "advanced",
        f"stopped, {shipped} days", "advanced", "shown to be worse in 60 days",
        "by scores, shadow", "by scores, canary",
    )  # fmt: skip
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for name, part in table.groupby("challenger", sort=False):
        short, long = (
            simulate_shadows(part, {**policy["shadow"], "days": d}, policy) for d in (days, shipped)
        )
        gone = short[short["action"] == "withdraw"]
        row = [
            name, f"{len(gone) / len(short):.0%}",
            median_or_dash(gone["day"]), median_or_dash(gone["labels"]),
            f"{(short['action'] == 'advance').mean():.0%}",
            f"{(long['action'] == 'withdraw').mean():.0%}",
            f"{(long['action'] == 'advance').mean():.0%}",
            f"{share_shown_worse(part, policy['shadow']):.0%}",
            *(f"{median_or_dash(part[stop])}, in {part[stop].notna().mean():.0%}"
              for stop in ("shadow_stop", "canary_stop")),
        ]  # fmt: skip
        print("| " + " | ".join(map(str, row)) + " |")


def median_and_range(values: pd.Series, form: str) -> str:
    return f"{values.median():{form}} ({values.min():{form}} to {values.max():{form}})"


def median_or_dash(values: pd.Series) -> str:
    return f"{values.median():,.0f}" if values.notna().any() else "-"


def challenger_rows(
    frame: pd.DataFrame, moment: Any, params: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield a row per challenger of `moment`: its differences, and when its scores stop it."""
    print(f"challengers: {moment:%d %B}", file=sys.stderr, flush=True)
    policy = params["rollout"]
    decided = frame["decision_time"]
    window = frame[(decided >= moment) & (decided < moment + FORTNIGHT)]
    champion = predict(fit(frame[frame["known_at"] < moment - FORTNIGHT], params), window)
    in_canary = np.random.default_rng(params["seed"]).random(len(window)) < 0.1
    for name, rival in challengers(frame[frame["known_at"] < moment], window, champion, params):
        paired = window[["decision_time", "label"]].assign(probability=champion, challenger=rival)
        days = sequential.daily_paired_difference(
            paired, params["costs"], min_labels=policy["shadow"]["day_labels"]
        )
        moved = pd.Series(rival - champion, index=window.index)
        yield {
            "challenger": name, "days": days["difference"].to_numpy(), "n": days["n"].to_numpy(),
            "cost": float(days["difference"].mean()), "spread": float(days["difference"].std()),
            "moved": float(moved.mean()),
            "moved_days": moved.groupby(window["decision_time"].dt.floor("D")).mean().to_numpy(),
            "shadow_stop": stopped_by_scores(moved.to_numpy(), policy["harm"]),
            "canary_stop": stopped_in_canary(champion, rival, in_canary, policy["harm"]),
        }  # fmt: skip


def stopped_by_scores(moved: np.ndarray, harm: dict[str, Any]) -> float:
    """Return the mirrored requests until the scores stop it; NaN if never."""
    how = {name: harm[name] for name in ("alpha", "focus")}
    for n in range(EVERY, len(moved), EVERY):
        seen = sequential.confidence_sequence(moved[:n], spread=float(moved[:n].std(ddof=1)), **how)
        if (
            rollout_policy.find_harm(ArmEvidence(requests=n, moved=seen), harm, live=False)
            is not None
        ):
            return float(n)
    return np.nan


def stopped_in_canary(
    champion: np.ndarray, rival: np.ndarray, chosen: np.ndarray, harm: dict[str, Any]
) -> float:
    """Return the challenger's answered requests until the scores stop it; NaN if never."""
    how = {name: harm[name] for name in ("alpha", "focus")}
    for n in range(10 * EVERY, len(champion), 10 * EVERY):
        ours, others = rival[:n][chosen[:n]], champion[:n][~chosen[:n]]
        seen = ArmEvidence(
            requests=len(ours), moved=sequential.difference_of_means(ours, others, **how)
        )
        if rollout_policy.find_harm(seen, harm, live=False) is not None:
            return float(len(ours))
    return np.nan


def simulate_shadows(
    part: pd.DataFrame, shadow: dict[str, Any], policy: dict[str, Any]
) -> pd.DataFrame:
    """Return the outcomes of 300 shadows, whose days are drawn from all of `part`."""
    rng = np.random.default_rng(0)
    difference, n = np.concatenate(part["days"].to_list()), np.concatenate(part["n"].to_list())
    found = []
    for _ in range(300):
        drawn = rng.integers(len(difference), size=shadow["max_days"])
        for day in range(1, len(drawn) + 1):
            labels = int(n[drawn[:day]].sum())
            evidence = ArmEvidence(
                requests=labels, days=day, labels=labels, coverage=1.0,
                cost=sequential.confidence_sequence(
                    difference[drawn[:day]], **sequence_options(shadow)
                ),
            )  # fmt: skip
            decision = rollout_policy.next_rollout_step(
                "shadow", MOMENTS[0], evidence, {**policy, "shadow": shadow}, MOMENTS[0]
            )
            if decision.action != "stay":
                found.append({"action": decision.action, "day": day, "labels": labels})
                break
    return pd.DataFrame(found)


def share_shown_worse(part: pd.DataFrame, shadow: dict[str, Any]) -> float:
    """Return the share that is shown to be worse within 60 days of daily looks."""
    rng = np.random.default_rng(0)
    days = np.concatenate(part["days"].to_list())
    found = [
        any(
            sequential.confidence_sequence(drawn[:n], **sequence_options(shadow)).low
            > shadow["margin_cost"]
            for n in range(1, 61)
        )
        for drawn in (rng.choice(days, 60) for _ in range(200))
    ]
    return float(np.mean(found))


def sequence_options(shadow: dict[str, Any]) -> dict[str, float]:
    return {name: shadow[name] for name in ("spread", "alpha", "focus")}


def challengers(
    known: pd.DataFrame, window: pd.DataFrame, champion: np.ndarray, params: dict[str, Any]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the scores on `window` of a healthy challenger, then of worse ones."""
    rng = np.random.default_rng(params["seed"])
    healthy = predict(fit(known, params), window)
    yield "healthy: refitted a fortnight later", healthy
    yield (
        "healthy: fitted on 90% of the same rows",
        predict(fit(known.sample(frac=0.9, random_state=params["seed"]), params), window),
    )
    yield "trained on 2,000 cases", predict(fit(known.iloc[-2000:], params), window)
    yield (
        "half of the labels shuffled",
        predict(fit(known.assign(label=shuffle_part(known["label"], 0.5, rng)), params), window),
    )
    yield (
        "all labels shuffled",
        predict(fit(known.assign(label=shuffle_part(known["label"], 1.0, rng)), params), window),
    )
    yield "labels reversed", predict(fit(known.assign(label=1 - known["label"]), params),
                                            window)  # fmt: skip
    yield "scores too low by 0.10", np.clip(healthy - 0.10, 0, 1)
    yield "scores too high by 0.10", np.clip(healthy + 0.10, 0, 1)
    yield "scores too high by 0.25", np.clip(healthy + 0.25, 0, 1)


def shuffle_part(labels: pd.Series, share: float, rng: np.random.Generator) -> np.ndarray:
    values = labels.to_numpy().copy()
    chosen = np.flatnonzero(rng.random(len(values)) < share)
    values[chosen] = rng.permutation(values[chosen])
    return values


if __name__ == "__main__":
    main()
