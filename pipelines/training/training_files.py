"""The files of a training, each read once."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from contract import UseCase
from pipelines.training import assemble
from settings import LoopError


@dataclass(frozen=True)
class TrainingFiles:
    """The stages' outputs below `path`: a workspace, or a checkout after `dvc repro`.

    A missing file raises `LoopError`.
    """

    path: Path
    use_case: UseCase

    @property
    def data(self) -> Path:
        """The folder of the stages' outputs."""
        return self.path / "data" / self.use_case.name

    @property
    def params_file(self) -> Path:
        return self._file(self.path / "usecases" / self.use_case.name / "params.yaml")

    @cached_property
    def params(self) -> dict[str, Any]:
        return yaml.safe_load(self.params_file.read_text())

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return self._json(self.data / "training/manifest.json")

    @cached_property
    def frame(self) -> pd.DataFrame:
        """All cases, with features, `label` and `known_at`."""
        return pd.read_parquet(self._file(self.data / "training/training.parquet"))

    @cached_property
    def holdout(self) -> pd.DataFrame:
        return assemble.split_holdout(self.frame, self.manifest)[1]

    @cached_property
    def candidates(self) -> dict[str, Any]:
        """The summary of each fit (`train.fit_candidate`), by candidate."""
        return self._json(self.data / "candidates/candidates.json")

    @cached_property
    def scores(self) -> pd.DataFrame:
        """`key`, `decision_time`, `label`, a probability per model, by case of the holdout."""
        return pd.read_parquet(self._file(self.data / "candidates/predictions.parquet"))

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The metrics of each model on the holdout."""
        return self._json(self.data / "evaluation/metrics.json")

    @cached_property
    def gates(self) -> dict[str, Any]:
        """The result of the evaluation: `winner`, `verdicts` by candidate, `slices`, `manifest`."""
        return self._json(self.data / "evaluation/gates.json")

    def model(self, name: str) -> Any:
        """Load a fitted candidate."""
        from serving.models import skops_file

        return skops_file.load_skops(
            self._file(self.data / f"candidates/{name}.skops").read_bytes()
        )

    def _json(self, path: Path) -> Any:
        return json.loads(self._file(path).read_text())

    def _file(self, path: Path) -> Path:
        if not path.exists():
            name = path.relative_to(self.path)
            raise LoopError(f"There is no {name} in {self.path}. Run `dvc repro` there.")
        return path
