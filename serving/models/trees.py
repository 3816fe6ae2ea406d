"""How are the trees of a model walked for few rows at a time, by treelite's GTIL?

By treelite's C API (https://treelite.readthedocs.io/en/latest/treelite-c-api.html), as its
own `gtil.predict` calls it: for one row that function asks the library for types and shapes, and
makes a configuration, for longer than the trees take. `tests/serving/models/test_trees.py` holds
that both
say the same.
"""

from __future__ import annotations

import ctypes
from typing import Any, cast

import numpy as np

from settings import LoopError

FLOAT64 = b"float64"


class Trees:
    """A treelite model of one output over float64; safe to share between threads."""

    def __init__(self, model: Any) -> None:
        """Raises `LoopError` if the model is of other types, or has more than one output."""
        from treelite.core import _LIB
        from treelite.gtil.gtil import GTILConfig

        types = (model.input_type, model.output_type)
        if types != ("float64", "float64"):
            raise LoopError(f"The trees are of {types[0]} and {types[1]}: not of float64.")
        self.model = model
        self._config = GTILConfig(nthread=1, predict_type="default")
        if (shape := self._shape(_LIB)) != (1, 1, 1):
            raise LoopError(f"The trees give {shape} for a row, and not one probability.")
        self._columns = model.num_feature
        self._predict = _LIB.TreeliteGTILPredict

    @classmethod
    def of(cls, data: bytes) -> Trees:
        """Of what treelite has written. Raises `LoopError` if it can't be read."""
        import treelite

        try:
            return cls(treelite.Model.deserialize_bytes(data))
        except treelite.TreeliteError as error:
            raise LoopError(f"treelite cannot read the model: {error}") from error

    def walk(self, matrix: np.ndarray) -> np.ndarray:
        """What the trees say of each row, shape (n_rows,); `matrix` is (n_rows, n_columns).

        Missing values are NaN. Raises `LoopError` for another number of columns.
        """
        if matrix.ndim != 2 or matrix.shape[1] != self._columns:
            raise LoopError(f"The trees want {self._columns} columns, not {matrix.shape[1:]}.")
        given = np.ascontiguousarray(matrix, dtype=np.float64)
        told = np.empty(len(given))
        failed = self._predict(
            self.model.handle, ctypes.c_void_p(given.ctypes.data), FLOAT64,
            ctypes.c_uint64(len(given)), ctypes.c_void_p(told.ctypes.data), self._config.handle,
        )  # fmt: skip
        if failed:
            raise LoopError(f"treelite could not walk the trees (code {failed}).")
        return told

    def _shape(self, library: Any) -> tuple[int, ...]:
        shape, n_dimensions = ctypes.POINTER(ctypes.c_uint64)(), ctypes.c_uint64()
        library.TreeliteGTILGetOutputShape(
            self.model.handle, ctypes.c_uint64(1), self._config.handle, ctypes.byref(shape),
            ctypes.byref(n_dimensions),
        )  # fmt: skip
        return tuple(cast("int", shape[at]) for at in range(n_dimensions.value))
