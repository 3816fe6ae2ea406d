"""How is a fitted model stored for serving, and evaluated there fast and exactly?

For one row scikit-learn takes many times as long as the same trees in treelite's GTIL, which agree
with it to the last bits (`make bench`, tests/bench/one_row.py). So a pipeline of ordinal codes and
gradient-boosted trees is served as trees, and any other pipeline as itself, through skops. Never a
pickle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.models import model_files, served_form, skops_file
from serving.models.shap_trees import shap_explainer
from serving.models.trees import Trees
from settings import LoopError

if TYPE_CHECKING:
    import pandas as pd

FeatureValue = float | str | None
MISSING = float("nan")


def export_model(model: Any, folder: Path) -> str:
    """Writes the served form of a fitted scikit-learn Pipeline into `folder`; returns its digest.

    The same fit gives the same bytes. Raises `LoopError` if the model is not a binary classifier
    of the classes 0 and 1, or cannot be stored safely.
    """
    form, data = served_form.choose_served_form(model)
    name = model_files.TREES_FILE if form["kind"] == "trees" else model_files.PIPELINE_FILE
    text = json.dumps(form, indent=1, sort_keys=True)
    return model_files.write_model_files(folder, {model_files.FORM_FILE: text.encode(), name: data})


@dataclass(frozen=True)
class Evaluator:
    """A model as it is served; safe to share between threads."""

    columns: tuple[str, ...]  # in the model's order
    codes: Mapping[str, Mapping[str | None, float]]  # of the text columns' categories
    trees: Trees | None
    pipeline: Any | None  # sklearn.pipeline.Pipeline, where there are no trees

    @classmethod
    def load(cls, folder: Path, digest: str) -> Evaluator:
        """The model in `folder`. Raises `LoopError` if it is not the one with this digest."""
        files = model_files.read_model_files(folder, digest)
        form = json.loads(files[model_files.FORM_FILE])
        codes = {
            column: {category: float(code) for code, category in enumerate(categories)}
            for column, categories in form["categories"].items()
        }
        trees = pipeline = None
        if form["kind"] == "trees":
            trees = Trees.of(files[model_files.TREES_FILE])
        else:
            pipeline = skops_file.load_skops(files[model_files.PIPELINE_FILE])
        return cls(tuple(form["columns"]), codes, trees, pipeline)

    def predict(self, rows: Sequence[Mapping[str, FeatureValue]]) -> np.ndarray:
        """Probability of class 1, float64, shape (n_rows,).

        A row maps column to value; None and NaN are missing, other columns are ignored. Raises
        `LoopError` if a column is absent, or not of numbers where the model wants numbers.
        """
        try:
            if self.trees is not None:
                return self._walk([self.codes_of(row) for row in rows])
            table = {c: [row[c] for row in rows] for c in self.columns}
        except KeyError as error:
            raise LoopError(f"A row lacks the column {error}, which the model needs.") from error
        import pandas as pd

        return self.predict_frame(pd.DataFrame(table, dtype=object))

    def unknown(self, row: Mapping[str, FeatureValue]) -> list[str]:
        """The columns whose category in `row` the model has not seen; it takes it for missing."""
        return [
            column for column, codes in self.codes.items()
            if row[column] is not None and row[column] not in codes
        ]  # fmt: skip

    @cached_property
    def explainer(self) -> Any:
        """SHAP's, of the trees; made once, on the first explanation."""
        return shap_explainer(self.trees.model)  # type: ignore[union-attr]

    def codes_of(self, row: Mapping[str, FeatureValue]) -> list[Any]:
        """The row as the trees are given it."""
        return [
            (MISSING if row[column] is None else row[column]) if codes is None
            # What is NaN has no category either, and is the only value that differs from itself.
            else codes.get(value if (value := row[column]) == value else None, MISSING)
            for column, codes in self._by_column
        ]  # fmt: skip

    def predict_frame(self, frame: pd.DataFrame) -> np.ndarray:
        """Like `predict`, for the rows of a frame in their order; its index is ignored."""
        if absent := [c for c in self.columns if c not in frame]:
            raise LoopError(f"The frame lacks the columns {absent}, which the model needs.")
        inputs = {c: self._column(c, frame[c]) for c in self.columns}
        if self.trees is not None:
            return self._walk(np.column_stack(list(inputs.values())))
        if frame.empty:
            return np.empty(0)
        import pandas as pd

        return self.pipeline.predict_proba(pd.DataFrame(inputs))[:, 1]  # type: ignore[union-attr]

    @cached_property
    def _by_column(self) -> list[tuple[str, Any]]:
        return [(column, self.codes.get(column)) for column in self.columns]

    def _column(self, column: str, values: pd.Series) -> np.ndarray:
        codes = self.codes.get(column)
        if codes is None:
            return _numbers(values, column)
        texts = values.astype(object).where(values.notna(), None).to_numpy()
        if self.trees is None:
            return texts
        return np.array([codes.get(text, MISSING) for text in texts])

    def _walk(self, table: Any) -> np.ndarray:
        """Through the trees, in float64 and in this thread: rows are few and cores are shared."""
        matrix = _numbers(table, self.columns)
        return self.trees.walk(matrix) if len(matrix) else np.empty(0)  # type: ignore[union-attr]


def _numbers(values: Any, columns: Any) -> np.ndarray:
    try:
        if hasattr(values, "to_numpy"):
            return values.to_numpy(dtype="float64", na_value=np.nan)
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise LoopError(f"The model wants numbers in {columns}: {error}") from error
