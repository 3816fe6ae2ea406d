"""Gates on the refit in its served form: files, parity, size, speed, columns and behaviour."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from contract import UseCase
from pipelines.evaluation.gates.verdict import Limits, Verdict, at_most, judge_behaviours
from serving.models import served_form
from serving.models.evaluator import Evaluator
from settings import LoopError


@dataclass(frozen=True)
class RefitModel:
    """The refit `model`, its served form in `folder`, and the evaluated model's probabilities.

    `evaluated` holds those on `frame`, shape (n_cases,). `digest` is that of the exported served
    form. `running` is the folder of the currently served form, if there is one.
    """

    use_case: UseCase
    model: Any
    folder: Path
    digest: str
    frame: pd.DataFrame
    evaluated: np.ndarray
    seed: int
    running: Path | None = None

    @cached_property
    def evaluator(self) -> Evaluator:
        """The evaluator of the served form; raises `LoopError` if its files changed."""
        return Evaluator.load(self.folder, self.digest)


def digest_holds(refit: RefitModel, limits: Limits) -> Verdict:
    """The files are byte for byte those of the export."""
    try:
        served_form.read_model_files(refit.folder, refit.digest)
    except LoopError as error:
        return Verdict(False, 1.0, 0.0, str(error))
    return Verdict(True, 0.0, 0.0, f"files that differ from the digest {refit.digest[:12]}")


def served_as_fitted(refit: RefitModel, limits: Limits) -> Verdict:
    """The served evaluator equals scikit-learn, on real rows and on fuzzed ones."""
    rows = pd.concat([refit.frame[refit.use_case.features], fuzz_rows(refit)], ignore_index=True)
    gap = np.abs(refit.evaluator.predict_frame(rows) - refit.model.predict_proba(rows)[:, 1])
    text = f"largest difference to scikit-learn on {len(rows):,} rows"
    return at_most(gap.max(), limits["max_parity_gap"], text)


def fuzz_rows(refit: RefitModel, n_rows: int = 500) -> pd.DataFrame:
    """Return real rows with a fifth of the values missing, unknown or extreme."""
    rng = np.random.default_rng(refit.seed)
    rows = refit.frame[refit.use_case.features].sample(
        n_rows, replace=True, random_state=refit.seed
    )
    rows = rows.reset_index(drop=True)
    for name in rows.columns:
        hit = rng.random(n_rows) < 0.2
        number = pd.api.types.is_numeric_dtype(rows[name])
        strange = [np.nan, 0.0, -1e9, 1e9] if number else ["?", ""]
        rows.loc[hit, name] = rng.choice(strange, size=int(hit.sum()))
    return rows


def small_enough(refit: RefitModel, limits: Limits) -> Verdict:
    """All files of the served form together are small enough."""
    total = sum(part.stat().st_size for part in refit.folder.rglob("*") if part.is_file())
    return at_most(total / 1e6, limits["max_size_mb"], "MB on disk")


def fast_enough(refit: RefitModel, limits: Limits) -> Verdict:
    """One row is predicted fast enough, in this process and without the lookup of features."""
    seconds = []
    for row in refit.frame[refit.use_case.features].head(100).to_dict("records"):
        started = time.perf_counter()
        refit.evaluator.predict([row])
        seconds.append(time.perf_counter() - started)
    return at_most(1000 * float(np.median(seconds)), limits["max_latency_ms"], "ms, median")


def signature_fits(refit: RefitModel, limits: Limits) -> Verdict:
    """The served form needs exactly the columns that the service provides, with the same types.

    The running service was built for the champion's columns. A model with other columns needs a
    release of the service first.
    """
    needed = _form_columns(refit.folder)
    categories, columns = refit.use_case.categories, refit.use_case.features
    provided = {name: "text" if name in categories else "number" for name in columns}
    text, differing = "", needed.items() ^ provided.items()
    if refit.running is not None:
        text = ", also compared with the running service"
        differing |= needed.items() ^ _form_columns(refit.running).items()
    names = sorted({name for name, _ in differing})
    text = f"columns that differ: {names or 'none'}{text}"
    return Verdict(not names, float(len(names)), 0.0, text)


def _form_columns(folder: Path) -> dict[str, str]:
    """Return the columns that a served form needs, each "text" or "number"."""
    form = json.loads((folder / served_form.FORM_FILE).read_text())
    return {name: "text" if name in form["categories"] else "number" for name in form["columns"]}


def near_the_evaluated_model(refit: RefitModel, limits: Limits) -> Verdict:
    """The refit, which saw the holdout, changes probabilities, but only a little."""
    change = np.abs(refit.evaluator.predict_frame(refit.frame) - refit.evaluated)
    if change.max() <= limits["max_parity_gap"]:
        text = "no probability changed: this is the evaluated model, without a refit"
        return Verdict(False, 0.0, limits["max_score_distance"], text)
    text = "mean |change of probability| by the refit"
    return at_most(change.mean(), limits["max_score_distance"], text)


def behaves_when_served(refit: RefitModel, limits: Limits) -> Verdict:
    """The behaviours hold for the served form, too."""
    predict = refit.evaluator.predict_frame
    return judge_behaviours(refit.use_case.behaviours, predict, refit.frame, limits, refit.seed)


REFIT_GATES: tuple[Callable[[RefitModel, Limits], Verdict], ...] = (
    digest_holds, served_as_fitted, small_enough, fast_enough, signature_fits,
    near_the_evaluated_model, behaves_when_served,
)  # fmt: skip
