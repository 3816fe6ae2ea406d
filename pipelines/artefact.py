"""Is the refit, as it will be served, the model that was evaluated? The artefact's gates."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.verdict import Limits, Verdict, at_most
from serving.evaluator import Evaluator


@dataclass(frozen=True)
class Artefact:
    """The refit `model`, its served form, and what the evaluated model said of `frame`."""

    model: Any
    evaluator: Evaluator
    folder: Path
    frame: pd.DataFrame
    evaluated: np.ndarray
    columns: list[str]
    seed: int


def parity(artefact: Artefact, limits: Limits) -> Verdict:
    """The served evaluator says what scikit-learn says, on real rows and on fuzzed ones."""
    rows = pd.concat([artefact.frame[artefact.columns], fuzzed(artefact)], ignore_index=True)
    own = artefact.evaluator.predict_frame(rows)
    theirs = artefact.model.predict_proba(rows)[:, 1]
    return at_most(
        "served as fitted", float(np.max(np.abs(own - theirs))), limits["max_parity_gap"],
        f"largest difference to scikit-learn on {len(rows):,} rows",
    )  # fmt: skip


def fuzzed(artefact: Artefact, n_rows: int = 500) -> pd.DataFrame:
    """Real rows with a fifth of the values missing, unknown or extreme."""
    rng = np.random.default_rng(artefact.seed)
    rows = artefact.frame[artefact.columns].sample(n_rows, replace=True, random_state=artefact.seed)
    rows = rows.reset_index(drop=True)
    for name in rows.columns:
        hit = rng.random(n_rows) < 0.2
        if pd.api.types.is_numeric_dtype(rows[name]):
            rows.loc[hit, name] = rng.choice([np.nan, 0.0, -1e9, 1e9], size=int(hit.sum()))
        else:
            rows.loc[hit, name] = rng.choice(["?", ""], size=int(hit.sum()))
    return rows


def size(artefact: Artefact, limits: Limits) -> Verdict:
    """All files of the served form."""
    total = sum(part.stat().st_size for part in artefact.folder.rglob("*") if part.is_file())
    return at_most("small enough", total / 1e6, limits["max_size_mb"], "MB on disk")


def latency(artefact: Artefact, limits: Limits) -> Verdict:
    """One row at a time, in this process, without the look-up of its features."""
    rows = artefact.frame[artefact.columns].head(100).to_dict("records")
    seconds = []
    for row in rows:
        started = time.perf_counter()
        artefact.evaluator.predict([row])
        seconds.append(time.perf_counter() - started)
    return at_most(
        "fast enough", 1000 * float(np.median(seconds)), limits["max_latency_ms"], "ms, median"
    )


def signature(artefact: Artefact, limits: Limits) -> Verdict:
    """The served form wants exactly the columns that the feature service gives."""
    differing = set(artefact.evaluator.columns) ^ set(artefact.columns)
    return Verdict(
        "signature fits", not differing, float(len(differing)), 0.0,
        f"columns that differ: {sorted(differing) or 'none'}",
    )  # fmt: skip


def near_the_evaluated(artefact: Artefact, limits: Limits) -> Verdict:
    """The refit has seen the holdout, so its scores may move, but not far."""
    moved = np.abs(artefact.evaluator.predict_frame(artefact.frame) - artefact.evaluated)
    return at_most(
        "near the evaluated model", float(moved.mean()), limits["max_score_distance"],
        "mean |change of probability| by the refit",
    )  # fmt: skip


def behaves(artefact: Artefact, limits: Limits) -> Verdict:
    """The behaviours hold for the served form too."""
    from usecase.evaluation import behaviours

    rows = artefact.frame.sample(
        min(len(artefact.frame), limits["behaviour_rows"]), random_state=artefact.seed
    )
    found = behaviours(artefact.evaluator.predict_frame, rows, dict(limits))
    verdicts = [
        Verdict("behaves when served", bool(each["passed"]), each["value"], each["limit"], name)
        for name, each in found.items()
    ]
    return min(verdicts, key=lambda verdict: (verdict.passed, verdict.margin))


GATES: tuple[Callable[[Artefact, Limits], Verdict], ...] = (
    parity, size, latency, signature, near_the_evaluated, behaves,
)  # fmt: skip
