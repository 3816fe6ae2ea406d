"""How is a scikit-learn model stored without pickle, and so that one fit gives the same bytes?"""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

from settings import LoopError

#: What we let skops build beside its own list of safe types. The list that a file brings with it
#: (or that `get_untrusted_types` reads from it) is written by whoever wrote the file: no boundary.
TRUSTED_TYPES = (
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
)


def dump_skops(model: Any) -> bytes:
    """The bytes of `model`. Raises `LoopError` if it holds a type that we would refuse to load."""
    import skops.io

    try:
        data: bytes = skops.io.dumps(model)
    except Exception as error:  # skops raises whatever the estimator's own state made it raise
        raise LoopError(f"skops cannot store this {type(model).__name__}: {error}") from error
    foreign = set(skops.io.get_untrusted_types(data=data)) - set(TRUSTED_TYPES)
    if foreign:
        raise LoopError(
            f"This model holds types that the service would refuse to load: {sorted(foreign)}. "
            "Review them, then add them to TRUSTED_TYPES in serving/models/skops_file.py."
        )
    return _canonical(data)


def load_skops(data: bytes) -> Any:
    """The model in `data`, built from trusted types only. Raises `LoopError` if it is not that."""
    import skops.io

    try:
        return skops.io.loads(data, trusted=list(TRUSTED_TYPES))
    except Exception as error:  # a hostile or broken archive may fail in any way it likes
        raise LoopError(f"The model file is not one that skops may load: {error}") from error


def _canonical(data: bytes) -> bytes:
    """The same archive with nothing of the process in it.

    skops names objects by their memory address and files by it or by a random UUID, and zip stamps
    the time: two exports of one model would get two digests. Only equality of the names matters.
    """
    ids: dict[int, int] = {}
    files: dict[str, str] = {}

    def rename(node: dict[str, Any]) -> dict[str, Any]:
        if isinstance(node.get("__id__"), int):
            node["__id__"] = ids.setdefault(node["__id__"], len(ids))
        if isinstance(node.get("file"), str):
            suffix = node["file"].rpartition(".")[2]
            node["file"] = files.setdefault(node["file"], f"{len(files)}.{suffix}")
        return node

    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        schema = json.loads(old.read("schema.json"), object_hook=rename)
        for name, renamed in files.items():
            new.writestr(zipfile.ZipInfo(renamed), old.read(name))  # ZipInfo: dated 1980-01-01
        new.writestr(zipfile.ZipInfo("schema.json"), json.dumps(schema))
    return buffer.getvalue()
