"""Gates on the refit in its served form: files, parity, size, speed, columns and behaviour."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.evaluation.gates.verdict import Limits, Verdict, at_most, worst_verdict
from serving.models import model_files
from serving.models.evaluator import Evaluator
from settings import LoopError


@dataclass(frozen=True)
class RefitModel:
    """The refit `model`, its served form in `folder`, and the evaluated model's probabilities.

    `evaluated` holds those on `frame`, shape (n_cases,). `digest` is that of the exported served
    form. `columns` are those that the service provides; `texts` are those that are not numbers.
    `running` is the folder of the currently served form, if there is one.
    """

    model: Any
    folder: Path
    digest: str
    frame: pd.DataFrame
    evaluated: np.ndarray
    columns: list[str]
    texts: Collection[str]
    seed: int
    running: Path | None = None

    @cached_property
    def evaluator(self) -> Evaluator:
        """The evaluator of the served form; raises `LoopError` if its files changed."""
        return Evaluator.load(self.folder, self.digest)


def digest_holds(refit: RefitModel, limits: Limits) -> Verdict:
    """The files are byte for byte those of the export."""
    gate = "digest holds"
    try:
        model_files.read_model_files(refit.folder, refit.digest)
    except LoopError as error:
        return Verdict(gate, False, 1.0, 0.0, str(error))
    return Verdict(gate, True, 0.0, 0.0, f"files that differ from the digest {refit.digest[:12]}")


def served_as_fitted(refit: RefitModel, limits: Limits) -> Verdict:
    """The served evaluator equals scikit-learn, on real rows and on fuzzed ones."""
    rows = pd.concat([refit.frame[refit.columns], fuzz_rows(refit)], ignore_index=True)
    own = refit.evaluator.predict_frame(rows)
    theirs = refit.model.predict_proba(rows)[:, 1]
    return at_most(
        "served as fitted", float(np.max(np.abs(own - theirs))), limits["max_parity_gap"],
        f"largest difference to scikit-learn on {len(rows):,} rows",
    )  # fmt: skip


def fuzz_rows(refit: RefitModel, n_rows: int = 500) -> pd.DataFrame:
    """Return real rows with a fifth of the values missing, unknown or extreme."""
    rng = np.random.default_rng(refit.seed)
    rows = refit.frame[refit.columns].sample(n_rows, replace=True, random_state=refit.seed)
    rows = rows.reset_index(drop=True)
    for name in rows.columns:
        hit = rng.random(n_rows) < 0.2
        if pd.api.types.is_numeric_dtype(rows[name]):
            rows.loc[hit, name] = rng.choice([np.nan, 0.0, -1e9, 1e9], size=int(hit.sum()))
        else:
            rows.loc[hit, name] = rng.choice(["?", ""], size=int(hit.sum()))
    return rows


def small_enough(refit: RefitModel, limits: Limits) -> Verdict:
    """All files of the served form together are small enough."""
    total = sum(part.stat().st_size for part in refit.folder.rglob("*") if part.is_file())
    return at_most("small enough", total / 1e6, limits["max_size_mb"], "MB on disk")


def fast_enough(refit: RefitModel, limits: Limits) -> Verdict:
    """One row is predicted fast enough, in this process and without the lookup of features."""
    rows = refit.frame[refit.columns].head(100).to_dict("records")
    seconds = []
    for row in rows:
        started = time.perf_counter()
        refit.evaluator.predict([row])
        seconds.append(time.perf_counter() - started)
    return at_most(
        "fast enough", 1000 * float(np.median(seconds)), limits["max_latency_ms"], "ms, median"
    )


def signature_fits(refit: RefitModel, limits: Limits) -> Verdict:
    """The served form needs exactly the columns that the service provides, with the same types.

    The running service was built for the champion's columns. A model with other columns needs a
    release of the service first.
    """
    needed = _form_columns(refit.folder)
    provided = dict.fromkeys(refit.columns, "number") | dict.fromkeys(refit.texts, "text")
    text, differing = "", _differing(needed, provided)
    if refit.running is not None:
        text = ", also compared with the running service"
        differing |= _differing(needed, _form_columns(refit.running))
    return Verdict(
        "signature fits", not differing, float(len(differing)), 0.0,
        f"columns that differ: {sorted(differing) or 'none'}{text}",
    )  # fmt: skip


def _form_columns(folder: Path) -> dict[str, str]:
    """Return the columns that a served form needs, each "text" or "number"."""
    form = json.loads((folder / model_files.FORM_FILE).read_text())
    return {name: "text" if name in form["categories"] else "number" for name in form["columns"]}


def _differing(one: dict[str, str], other: dict[str, str]) -> set[str]:
    return {name for name, _ in one.items() ^ other.items()}


def near_the_evaluated_model(refit: RefitModel, limits: Limits) -> Verdict:
    """The refit, which saw the holdout, changes probabilities, but only a little."""
    change = np.abs(refit.evaluator.predict_frame(refit.frame) - refit.evaluated)
    if change.max() <= limits["max_parity_gap"]:
        text = "no probability changed: this is the evaluated model, without a refit"
        return Verdict("near the evaluated model", False, 0.0, limits["max_score_distance"], text)
    return at_most(
        "near the evaluated model", float(change.mean()), limits["max_score_distance"],
        "mean |change of probability| by the refit",
    )  # fmt: skip


def behaves_when_served(refit: RefitModel, limits: Limits) -> Verdict:
    """The behaviours hold for the served form, too."""
    from usecase.evaluation import behaviours

    rows = refit.frame.sample(
        min(len(refit.frame), limits["behaviour_rows"]), random_state=refit.seed
    )
    results = behaviours(refit.evaluator.predict_frame, rows, dict(limits))
    return worst_verdict(
        "behaves when served",
        [Verdict("behaves when served", bool(each["passed"]), each["value"], each["limit"], name)
         for name, each in results.items()],
    )  # fmt: skip


REFIT_GATES: tuple[Callable[[RefitModel, Limits], Verdict], ...] = (
    digest_holds, served_as_fitted, small_enough, fast_enough, signature_fits,
    near_the_evaluated_model, behaves_when_served,
)  # fmt: skip
