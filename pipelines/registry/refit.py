"""Refits the winner of a training on every case that the training knew.

`python -m pipelines.registry.refit CANDIDATE` in a workspace searches and refits, and prints the
digest:
`mlops reproduce` runs it by the code of the version's own commit.
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
    """Fits the winner's parameters on every known case; the digest of its served form.

    Writes `refit/` in the workspace, whole or not at all; a refit that is there stands.
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
    """Makes the version of the workspace anew: first the search, then the refit."""
    import settings
    from pipelines.runtime import stage_command
    from pipelines.training import train

    here = settings.load_settings()
    train.train_candidates(here, stage_command.parse_time(here.params()["as_of"]))
    print("digest", refit_winner(here.root, sys.argv[1]))


if __name__ == "__main__":
    main()
