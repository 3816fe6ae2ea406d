"""Time of one prediction by scikit-learn and by the served form, printed by `make bench`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from measure import compare, format_duration, seconds, spread
from year import cases

from serving.models import evaluator
from usecase.columns import FEATURES
from usecase.model import build_candidates

N_ROWS = 30_000


def main() -> None:
    settings, frame = cases()
    print("\n## One row at a time, in process (`tests/bench/one_row.py`)\n")
    known = frame.head(N_ROWS)
    row = known[FEATURES].tail(1)
    record = row.to_dict("records")
    for name, (model, _) in build_candidates(settings.params()).items():
        model.fit(known[FEATURES], known["label"])
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "served"
            served = evaluator.Evaluator.load(target, evaluator.export_model(model, target))
        own = served.predict_frame(known)
        gap = np.max(np.abs(own - model.predict_proba(known[FEATURES])[:, 1]))
        form = "trees in treelite" if served.trees is not None else "itself"
        print(f"- {name}, served as {form}: largest difference to scikit-learn {gap:.1e}")
        compare(
            f"{name}: 20 one-row predictions by scikit-learn, relative to its served form",
            lambda m=model: [m.predict_proba(row) for _ in range(20)],
            lambda s=served: [s.predict(record) for _ in range(20)],
        )  # fmt: skip
        took = [seconds(lambda s=served: s.predict(record)) for _ in range(200)]
        low, middle, _ = spread(took)
        cpu, least = format_duration(middle), format_duration(low)
        print(f"- {name}: a served row takes {cpu} of CPU time (min {least})")


if __name__ == "__main__":
    main()
