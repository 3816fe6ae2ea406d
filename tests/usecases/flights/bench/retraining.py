"""Compare a model frozen at the end of March with one that is refitted every month."""

import sys
from datetime import UTC, datetime

import pandas as pd
from fortnights import fit, predict
from year import END, cases

from monitoring.measures import scores as evaluation

STARTS = [datetime(2013, month, 1, tzinfo=UTC) for month in range(4, 13)]


def main() -> None:
    settings, frame = cases()
    params = settings.params()
    frozen = fit(frame[frame["known_at"] < STARTS[0]], params)
    rows = []
    for start, end in zip(STARTS, [*STARTS[1:], END], strict=True):
        decided = frame["decision_time"]
        month = frame[(decided >= start) & (decided < end)]
        for name, model in (
            ("frozen", frozen), ("refitted", fit(frame[frame["known_at"] < start], params)),
        ):  # fmt: skip
            found = evaluation.metrics(month["label"], predict(model, month), params["costs"])
            rows.append({"month": f"{start:%B}", "model": name, **found})
        print(f"retraining: {start:%B} is done", file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    columns = ["auc", "log_loss", "cost_per_1000", "calibration_gap"]
    print("\n## Frozen or refitted every month (`tests/usecases/flights/bench/retraining.py`)\n")
    print("April to December. Each fit uses all data known by then. Gradient boosting, first draw.")
    print("\n| | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for name, part in table.groupby("model"):
        print(f"| {name}, mean of months | " + " | ".join(f"{part[c].mean():.4g}" for c in columns)
              + " |")  # fmt: skip
    frozen_cost, new_cost = (
        table[table["model"] == name].set_index("month")["cost_per_1000"]
        for name in ("frozen", "refitted")
    )
    better = int((new_cost < frozen_cost).sum())
    print(f"\nIn {better} of {len(frozen_cost)} months the refitted model costs less.")


if __name__ == "__main__":
    main()
