"""Refit of a training's winner on every case with a known label.

`python -m pipelines.registry.refit CANDIDATE` repeats search and refit in a workspace, and prints
the digest. `mlops reproduce` runs it with the code of the version's commit.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import yaml

from features import durable_files


def refit_winner(path: Path, winner: str) -> str:
    """Fit the winner with its chosen parameters on every known case; return the digest.

    Write `refit/` in the workspace atomically. An existing refit is kept. The digest is that of
    the served form (`serving.models.evaluator.export_model`).
    """
    from serving.models import evaluator, skops_file
    from usecase.columns import FEATURES
    from usecase.model import build_candidates

    target = path / "refit"
    if not target.exists():
        params = yaml.safe_load((path / "usecase" / "params.yaml").read_text())
        frame = pd.read_parquet(path / "data" / "training" / "training.parquet")
        chosen = json.loads((path / "data" / "candidates" / "candidates.json").read_text())
        model, _ = build_candidates(params)[winner]
        model.set_params(**chosen[winner]["params"]).fit(frame[FEATURES], frame["label"])
        draft = path / ".refit"
        shutil.rmtree(draft, ignore_errors=True)
        digest = evaluator.export_model(model, draft / "served")
        (draft / "model.skops").write_bytes(skops_file.dump_skops(model))
        (draft / "digest").write_text(digest)
        durable_files.publish_folder(draft, target)
    return (target / "digest").read_text()


def main() -> None:
    """Repeat the search, then the refit, in the current workspace."""
    import settings
    from pipelines.runtime import stage_command
    from pipelines.training import train

    workspace = settings.load_settings()
    train.train_candidates(workspace, stage_command.parse_time(workspace.params()["as_of"]))
    print("digest", refit_winner(workspace.root, sys.argv[1]))


if __name__ == "__main__":
    main()
