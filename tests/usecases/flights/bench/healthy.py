"""Values that healthy models reach at each gate; the limits of `params.yaml` are wider.

At each moment a challenger is compared with a champion that is a week or a fortnight older, on the
week or fortnight after the challenger's data. The candidate and the data are those of
`mlops prove`.
"""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.evaluation import evaluate
from pipelines.evaluation.gates.verdict import run_gates
from pipelines.proofs import base_training
from settings import Settings
from usecases.flights import model

WEEK = timedelta(days=7)
MOMENTS = [datetime(2013, 2, 18, tzinfo=UTC) + week * WEEK for week in range(7)]


def main() -> None:
    for name in [name for name in os.environ if name.startswith("MLOPS_")]:
        del os.environ[name]
    training = base_training.open_base_training(Settings(home=Path(__file__).parents[4]))
    found: dict[str, list[float]] = {}
    refused: list[str] = []
    for moment in MOMENTS:
        for weeks in (1, 2):
            verdicts = verdicts_at(training, moment, weeks * WEEK)
            refused += [
                f"{moment:%d %B}, {weeks} weeks: {each['gate']}, {each['value']:.4g}, limit "
                f"{each['limit']:.4g} ({each['told']})"
                for each in verdicts
                if not each["passed"]
            ]
            for each in verdicts:
                if each["value"] is not None:
                    found.setdefault(each["gate"], []).append(each["value"])
    for name, values in behaviours(training).items():
        found[name] = values
    print("\n## Healthy models at the gates (`tests/usecases/flights/bench/healthy.py`)\n")
    print(f"{2 * len(MOMENTS)} challengers; refused: {'; '.join(refused) or 'none'}.\n")
    print("| value of the gate | min | median | max |\n|---|---|---|---|")
    for name, values in found.items():
        reached = pd.Series(values)
        print(f"| {name} | {reached.min():.3g} | {reached.median():.3g} | {reached.max():.3g} |")


def verdicts_at(
    training: base_training.BaseTraining, moment: datetime, span: timedelta
) -> list[dict[str, Any]]:
    """Return the verdicts on the challenger as of `moment`, compared on the `span` before it."""
    frame = training.frame[training.frame["known_at"] < moment].reset_index(drop=True)
    then = replace(training, frame=frame, as_of=moment, start=moment - span)
    return run_gates(
        then.gate_inputs(then.healthy), training.params["gates"], evaluate.CANDIDATE_GATES
    )


def behaviours(training: base_training.BaseTraining) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for moment in MOMENTS[::2]:
        frame = training.frame[training.frame["known_at"] < moment].reset_index(drop=True)
        then = replace(training, frame=frame, as_of=moment, start=moment - 2 * WEEK)
        evidence = then.gate_inputs(then.healthy)
        rows = then.holdout.sample(2000, random_state=training.seed)
        measured = model.behaviours(evidence.predict, rows, training.params["gates"])
        for name, each in measured.items():
            found.setdefault(name, []).append(each.value)
    return found


if __name__ == "__main__":
    main()
