"""Exports a fitted model to its served form, and predicts with that form, fast and exactly.

For one row, scikit-learn takes many times as long as treelite's GTIL on the same trees. The two
agree to the last bits (`make bench`, tests/bench/one_row.py). So a pipeline of ordinal codes and
gradient-boosted trees is served as trees. Any other pipeline is served by scikit-learn, stored with
skops, never as a pickle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.models import served_form, skops_file
from serving.models.trees import Trees
from settings import LoopError

if TYPE_CHECKING:
    import pandas as pd

FeatureValue = float | str | None
MISSING = float("nan")


def export_model(model: Any, folder: Path) -> str:
    """Write the served form of a fitted scikit-learn Pipeline into `folder`; return its digest.

    The same fit gives the same bytes. Raises `LoopError` if the model is not a classifier of the
    classes 0 and 1, or can't be stored safely.
    """
    form, data = served_form.choose_served_form(model)
    name = served_form.TREES_FILE if form["kind"] == "trees" else served_form.PIPELINE_FILE
    text = json.dumps(form, indent=1, sort_keys=True)
    return served_form.write_model_files(folder, {served_form.FORM_FILE: text.encode(), name: data})


@dataclass(frozen=True)
class Evaluator:
    """A served model. Safe to share between threads."""

    columns: tuple[str, ...]  # in the model's order
    codes: Mapping[str, Mapping[str | None, float]]  # by text column, of its categories
    trees: Trees | None
    pipeline: Any | None  # sklearn.pipeline.Pipeline, if there are no trees

    @classmethod
    def load(cls, folder: Path, digest: str) -> Evaluator:
        """Load the model in `folder`. Raises `LoopError` if its digest is another."""
        files = served_form.read_model_files(folder, digest)
        form = json.loads(files[served_form.FORM_FILE])
        codes = {
            column: {category: float(code) for code, category in enumerate(categories)}
            for column, categories in form["categories"].items()
        }
        columns = tuple(form["columns"])
        if form["kind"] == "trees":
            return cls(columns, codes, Trees.from_bytes(files[served_form.TREES_FILE]), None)
        pipeline = skops_file.load_skops(files[served_form.PIPELINE_FILE])
        return cls(columns, codes, None, pipeline)

    def predict(self, rows: Sequence[Mapping[str, FeatureValue]]) -> np.ndarray:
        """Return the probability of class 1, float64, shape (n_rows,).

        A row maps column to value. None and NaN are missing values; further columns are ignored.
        Raises `LoopError` if a column is absent, or holds text where the model needs numbers.
        """
        try:
            if self.trees is not None:
                return self._predict_trees([self.encode_row(row) for row in rows])
            table = {c: [row[c] for row in rows] for c in self.columns}
        except KeyError as error:
            raise LoopError(
                f"A row lacks the column {error}. Send all columns of the model."
            ) from error
        return self._predict_columns(table)

    def unknown_categories(self, row: Mapping[str, FeatureValue]) -> list[str]:
        """Return the columns whose category the fit did not see. The model takes it as missing."""
        return [
            column for column, codes in self.codes.items()
            if row[column] is not None and row[column] not in codes
        ]  # fmt: skip

    def encode_row(self, row: Mapping[str, FeatureValue]) -> list[Any]:
        """Return the row's numbers and codes, as input of the trees."""
        return [
            (MISSING if row[column] is None else row[column]) if codes is None
            # NaN, the only value that differs from itself, counts as None.
            else codes.get(value if (value := row[column]) == value else None, MISSING)
            for column, codes in self._by_column
        ]  # fmt: skip

    def predict_frame(self, frame: pd.DataFrame) -> np.ndarray:
        """Predict like `predict` for the rows of a frame, in their order. Ignores its index."""
        if absent := [c for c in self.columns if c not in frame]:
            raise LoopError(f"The frame lacks the columns {absent}. The model needs them.")
        return self._predict_columns(frame)

    @cached_property
    def _by_column(self) -> list[tuple[str, Any]]:
        return [(column, self.codes.get(column)) for column in self.columns]

    def _predict_columns(self, columns: Any) -> np.ndarray:
        """Predict for a frame, or for a list of values by column."""
        import pandas as pd

        inputs = {}
        for column in self.columns:
            codes, values = self.codes.get(column), columns[column]
            if codes is None:
                inputs[column] = _numbers(values, column)
                continue
            texts = pd.Series(values, dtype=object)
            texts = texts.where(texts.notna(), None)
            coded = [codes.get(text, MISSING) for text in texts] if self.trees else texts
            inputs[column] = np.array(coded)
        if self.trees is not None:
            return self._predict_trees(np.column_stack(list(inputs.values())))
        frame = pd.DataFrame(inputs)
        return np.empty(0) if frame.empty else self.pipeline.predict_proba(frame)[:, 1]  # type: ignore[union-attr]

    def _predict_trees(self, table: Any) -> np.ndarray:
        """Predict in float64 and in this thread: rows are few, and other work shares the cores."""
        matrix = _numbers(table, self.columns)
        return self.trees.predict(matrix) if len(matrix) else np.empty(0)  # type: ignore[union-attr]


def _numbers(values: Any, columns: Any) -> np.ndarray:
    try:
        if hasattr(values, "to_numpy"):
            return values.to_numpy(dtype="float64", na_value=np.nan)
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise LoopError(f"The model needs numbers in {columns}: {error}.") from error
