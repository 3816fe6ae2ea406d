"""Predicts with treelite's GTIL for few rows at a time.

Calls treelite's C function (https://treelite.readthedocs.io/en/latest/treelite-c-api.html), as
`treelite.gtil.predict` does. For one row, that function spends more time on types, shapes and a
configuration than on the trees: docs/decisions/06-served-as-trees.md.
"""

import ctypes
from typing import Any, Self

import numpy as np

from settings import LoopError

FLOAT64 = b"float64"


class Trees:
    """A treelite model over float64 with one output. Safe to share between threads."""

    def __init__(self, model: Any) -> None:
        """Raise `LoopError` if the model has other types, or more than one output."""
        from treelite import gtil
        from treelite.core import _LIB

        types = (model.input_type, model.output_type)
        if types != ("float64", "float64"):
            raise LoopError(f"The trees are of {types[0]} and {types[1]}. They must be of float64.")
        self.model, self._columns = model, model.num_feature
        shape = gtil.predict(model, np.zeros((1, self._columns)), nthread=1).shape
        if shape != (1, 1, 1):
            raise LoopError(f"The trees return the shape {shape} for a row, not one probability.")
        self._config = gtil.gtil.GTILConfig(nthread=1, predict_type="default")
        self._predict = _LIB.TreeliteGTILPredict

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Load a serialised treelite model. Raises `LoopError` if it can't be read."""
        import treelite

        try:
            return cls(treelite.Model.deserialize_bytes(data))
        except treelite.TreeliteError as error:
            raise LoopError(
                f"treelite cannot read the model: {error}. Export the model again."
            ) from error

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return a prediction for each row, shape (n_rows,); `matrix` is (n_rows, n_columns).

        Missing values are NaN. Raises `LoopError` for another number of columns.
        """
        if matrix.ndim != 2 or matrix.shape[1] != self._columns:
            raise LoopError(f"The trees need {self._columns} columns, not {matrix.shape[1:]}.")
        inputs = np.ascontiguousarray(matrix, dtype=np.float64)
        outputs = np.empty(len(inputs))
        failed = self._predict(
            self.model.handle, ctypes.c_void_p(inputs.ctypes.data), FLOAT64,
            ctypes.c_uint64(len(inputs)), ctypes.c_void_p(outputs.ctypes.data), self._config.handle,
        )  # fmt: skip
        if failed:
            raise LoopError(f"treelite could not predict (code {failed}).")
        return outputs
