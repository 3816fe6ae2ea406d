"""Refit of a training's winner on every case with a known label, and the gates on it.

A training and the fast replay call the same functions. `python -m pipelines.registry.refit
CANDIDATE` repeats search and refit in a workspace, and prints the digest. `mlops reproduce` runs it
with the code of the version's commit.
"""

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from contract import UseCase
from features import durable_files
from pipelines.evaluation.gates.refit_gates import REFIT_GATES, RefitModel
from pipelines.evaluation.gates.verdict import Limits, Verdict, run_gates
from pipelines.training.training_files import TrainingFiles
from serving.models import evaluator, skops_file

RefitGates = Sequence[Callable[[RefitModel, Limits], Verdict]]


def refit_training(files: TrainingFiles) -> tuple[str, list[dict[str, Any]]]:
    """Refit the winner of the training; return its digest and the verdicts on it."""
    path, champion = files.path, files.data / "champion" / "served"
    winner = files.gates["winner"]
    digest = refit_model(files.model(winner), files.frame, path / "refit")
    verdicts = refit_verdicts(
        files.use_case, path / "refit", files.holdout, files.scores[winner].to_numpy(),
        files.params, champion if champion.exists() else None,
    )  # fmt: skip
    return digest, verdicts


def refit_model(fitted: Any, frame: pd.DataFrame, folder: Path) -> str:
    """Fit a model with the parameters of `fitted` on `frame`; return the digest.

    Write the model and its served form to `folder` atomically. An existing refit is kept. The
    digest is that of the served form (`serving.models.evaluator.export_model`).
    """
    from sklearn.base import clone

    if not folder.exists():
        model = clone(fitted).fit(frame[list(fitted.feature_names_in_)], frame["label"])
        draft = folder.with_name(f".{folder.name}")
        shutil.rmtree(draft, ignore_errors=True)
        digest = evaluator.export_model(model, draft / "served")
        (draft / "model.skops").write_bytes(skops_file.dump_skops(model))
        (draft / "digest").write_text(digest)
        durable_files.publish_folder(draft, folder)
    return (folder / "digest").read_text()


def refit_verdicts(
    use_case: UseCase, folder: Path, holdout: pd.DataFrame, evaluated: np.ndarray,
    params: dict[str, Any], running: Path | None, gates: RefitGates = REFIT_GATES,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the verdicts of `gates` on the refit in `folder`.

    `evaluated`: probabilities of the evaluated model on the holdout. `running`: served form of the
    champion, if there is one.
    """
    subject = RefitModel(
        use_case=use_case, model=skops_file.load_skops((folder / "model.skops").read_bytes()),
        folder=folder / "served", digest=(folder / "digest").read_text(), frame=holdout,
        evaluated=evaluated, seed=params["seed"], running=running,
    )  # fmt: skip
    return run_gates(subject, {**params["gates"], **params["gates"]["artefact"]}, gates)


def main() -> None:
    """Repeat the search, then the refit, in the current workspace."""
    import settings
    from pipelines.runtime import stage_command
    from pipelines.training import train

    workspace = settings.load_settings()
    train.train_candidates(workspace, stage_command.parse_time(workspace.params()["as_of"]))
    files = TrainingFiles(workspace.root, workspace.use_case)
    print("digest", refit_model(files.model(sys.argv[1]), files.frame, files.path / "refit"))


if __name__ == "__main__":
    main()
