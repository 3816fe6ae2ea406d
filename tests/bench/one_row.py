"""Time of one prediction by scikit-learn and by the served form, printed by `make bench`."""

import tempfile
from pathlib import Path

import numpy as np
from measure import compare, format_duration, seconds, spread
from treelite import gtil
from year import cases

from serving.models import evaluator
from serving.models.trees import Trees
from tests.use_case import FEATURES, USE_CASE

N_ROWS = 30_000


def main() -> None:
    settings, frame = cases()
    print("\n## One row at a time, in process (`tests/bench/one_row.py`)\n")
    known = frame.head(N_ROWS)
    row = known[FEATURES].tail(1)
    record = row.to_dict("records")
    for name, (model, _) in USE_CASE.candidates(settings.params()).items():
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
        if served.trees is not None:
            _compare_with_gtil(served.trees, np.array([served.encode_row(record[0])]))


def _compare_with_gtil(trees: Trees, row: np.ndarray) -> None:
    """Print what treelite's public function costs, and whether it returns the same bits."""
    same = np.array_equal(gtil.predict(trees.model, row, nthread=1).reshape(-1), trees.predict(row))
    print(f"- treelite's public `gtil.predict` returns the same bits: {same}")
    compare(
        "1,000 rows, one by one, by `gtil.predict`, relative to the C function called directly",
        lambda: [gtil.predict(trees.model, row, nthread=1) for _ in range(1000)],
        lambda: [trees.predict(row) for _ in range(1000)],
    )


if __name__ == "__main__":
    main()
