"""Compare an estimate of the cost before labels arrive with the last known cost.

If probabilities are calibrated, they predict what decisions on them cost: an alarm is a false
alarm with 1 - p, silence a miss with p (confidence-based performance estimation). The two
alternatives need labels, which are a day late: the cost of the week before, and the estimate
corrected by its error of the week before.
"""

import sys
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
from fortnights import fit, predict
from retraining import STARTS
from year import END, cases

from monitoring.measures import scores as evaluation


def main() -> None:
    settings, frame = cases()
    params = settings.params()
    print("\n## Cost before labels arrive (`tests/usecases/flights/bench/estimated.py`)\n")
    print("Weeks from April to December. Gradient boosting, first draw of the search.\n")
    print("| model | estimate | correlation with the cost | mean error | worst error |")
    print("|---|---|---|---|---|")
    frozen = weeks(frame, params, STARTS[:1])
    for name, table in (
        ("never replaced", frozen), ("refitted every month", weeks(frame, params, STARTS)),
    ):  # fmt: skip
        for estimate in ("by its probabilities", "the week before", "corrected by the week before"):
            known = table.dropna()
            off = (known[estimate] - known["cost"]).abs()
            r = known[estimate].corr(known["cost"])
            print(f"| {name} | {estimate} | {r:.2f} | {off.mean():.0f} | {off.max():.0f} |")
    cost = frozen["cost"]
    span = f"{cost.min():.0f} to {cost.max():.0f} per 1,000"
    print(f"\nThe model that is never replaced cost {span} in a week, over {len(cost)} weeks.")


def weeks(frame: pd.DataFrame, params: dict[str, Any], starts: list[datetime]) -> pd.DataFrame:
    """Return a row per week: the cost per 1,000, and each estimate of it."""
    parts = []
    for start, end in zip(starts, [*starts[1:], END], strict=True):
        decided = frame["decision_time"]
        window = frame[(decided >= start) & (decided < end)]
        model = fit(frame[frame["known_at"] < start], params)
        parts.append(window.assign(probability=predict(model, window)))
        print(f"estimated: {start:%B} is done", file=sys.stderr, flush=True)
    scored = pd.concat(parts)
    week = ((scored["decision_time"] - STARTS[0]) // timedelta(days=7)).to_numpy()
    p, costs = scored["probability"].to_numpy(), params["costs"]
    by_week = pd.DataFrame({
        "cost": 1000 * evaluation.case_costs(scored["label"], p, costs),
        "by its probabilities": 1000 * evaluation.expected_costs(p, costs),
    }).groupby(week)  # fmt: skip
    table = by_week.mean()[by_week.size() > 1000]  # the last week may be a day
    table["the week before"] = table["cost"].shift()
    ratio = (table["cost"] / table["by its probabilities"]).shift()
    table["corrected by the week before"] = table["by its probabilities"] * ratio
    return table


if __name__ == "__main__":
    main()
