"""Is the refit, as it will be served, the model that was evaluated? The artefact's gates."""

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
    """The refit `model`, its served form in `folder`, and what the evaluated model said of `frame`.

    `digest` is the served form's from when it was made. `columns` are what the service gives, and
    `texts` those of them that are no numbers; `running` is the folder of the served form that
    answers now, if one does.
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
        """Raises `LoopError` if the files are not those of the digest."""
        return Evaluator.load(self.folder, self.digest)


def digest_holds(artefact: RefitModel, limits: Limits) -> Verdict:
    """The files are, byte for byte, those that were made: nobody has touched them since."""
    gate = "digest holds"
    try:
        model_files.read_model_files(artefact.folder, artefact.digest)
    except LoopError as error:
        return Verdict(gate, False, 1.0, 0.0, str(error))
    return Verdict(
        gate, True, 0.0, 0.0, f"files that differ from the digest {artefact.digest[:12]}"
    )


def served_as_fitted(artefact: RefitModel, limits: Limits) -> Verdict:
    """The served evaluator says what scikit-learn says, on real rows and on fuzzed ones."""
    rows = pd.concat([artefact.frame[artefact.columns], fuzz_rows(artefact)], ignore_index=True)
    own = artefact.evaluator.predict_frame(rows)
    theirs = artefact.model.predict_proba(rows)[:, 1]
    return at_most(
        "served as fitted", float(np.max(np.abs(own - theirs))), limits["max_parity_gap"],
        f"largest difference to scikit-learn on {len(rows):,} rows",
    )  # fmt: skip


def fuzz_rows(artefact: RefitModel, n_rows: int = 500) -> pd.DataFrame:
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


def small_enough(artefact: RefitModel, limits: Limits) -> Verdict:
    """All files of the served form."""
    total = sum(part.stat().st_size for part in artefact.folder.rglob("*") if part.is_file())
    return at_most("small enough", total / 1e6, limits["max_size_mb"], "MB on disk")


def fast_enough(artefact: RefitModel, limits: Limits) -> Verdict:
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


def signature_fits(artefact: RefitModel, limits: Limits) -> Verdict:
    """The served form wants the columns that the service gives, text for text and no others.

    What runs was built for the champion's columns: one that wants others needs a release of the
    service first.
    """
    wanted = _form(artefact.folder)
    given = dict.fromkeys(artefact.columns, "number") | dict.fromkeys(artefact.texts, "text")
    told, differing = "", _differing(wanted, given)
    if artefact.running is not None:
        told = "; also against the service that runs"
        differing |= _differing(wanted, _form(artefact.running))
    return Verdict(
        "signature fits", not differing, float(len(differing)), 0.0,
        f"columns that differ: {sorted(differing) or 'none'}{told}",
    )  # fmt: skip


def _form(folder: Path) -> dict[str, str]:
    """The columns that a served form wants, each "text" or "number"."""
    form = json.loads((folder / model_files.FORM_FILE).read_text())
    return {name: "text" if name in form["categories"] else "number" for name in form["columns"]}


def _differing(one: dict[str, str], other: dict[str, str]) -> set[str]:
    return {name for name, _ in one.items() ^ other.items()}


def near_the_evaluated_model(artefact: RefitModel, limits: Limits) -> Verdict:
    """The refit has seen the holdout, so its scores move, but not far."""
    moved = np.abs(artefact.evaluator.predict_frame(artefact.frame) - artefact.evaluated)
    if moved.max() <= limits["max_parity_gap"]:
        told = "no probability was moved: this is the evaluated model, and was not refitted"
        return Verdict("near the evaluated model", False, 0.0, limits["max_score_distance"], told)
    return at_most(
        "near the evaluated model", float(moved.mean()), limits["max_score_distance"],
        "mean |change of probability| by the refit",
    )  # fmt: skip


def behaves_when_served(artefact: RefitModel, limits: Limits) -> Verdict:
    """The behaviours hold for the served form too."""
    from usecase.evaluation import behaviours

    rows = artefact.frame.sample(
        min(len(artefact.frame), limits["behaviour_rows"]), random_state=artefact.seed
    )
    found = behaviours(artefact.evaluator.predict_frame, rows, dict(limits))
    return worst_verdict(
        "behaves when served",
        [Verdict("behaves when served", bool(each["passed"]), each["value"], each["limit"], name)
         for name, each in found.items()],
    )  # fmt: skip


REFIT_GATES: tuple[Callable[[RefitModel, Limits], Verdict], ...] = (
    digest_holds, served_as_fitted, small_enough, fast_enough, signature_fits,
    near_the_evaluated_model, behaves_when_served,
)  # fmt: skip
