"""Stores scikit-learn models with skops, not pickle. The same fit gives the same bytes."""

import io
import json
import zipfile
from typing import Any

from settings import LoopError

#: Types that skops may build besides its own safe ones. The list in a file (which
#: `get_untrusted_types` reads) is no security boundary: the file's author wrote it.
TRUSTED_TYPES = (
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
)


def dump_skops(model: Any) -> bytes:
    """Return the bytes of `model`. Raises `LoopError` if loading it would be refused."""
    import skops.io

    try:
        data: bytes = skops.io.dumps(model)
    except Exception as error:  # skops passes on any error of the estimator
        raise LoopError(f"skops can't store this {type(model).__name__}: {error}.") from error
    foreign = set(skops.io.get_untrusted_types(data=data)) - set(TRUSTED_TYPES)
    if foreign:
        raise LoopError(
            f"The model holds types that the service refuses to load: {sorted(foreign)}. Review "
            "them, then add them to TRUSTED_TYPES in serving/models/skops_file.py."
        )
    return _canonical(data)


def load_skops(data: bytes) -> Any:
    """Load the model in `data`. Raises `LoopError` if it holds types that are not trusted."""
    import skops.io

    try:
        return skops.io.loads(data, trusted=list(TRUSTED_TYPES))
    except Exception as error:  # a hostile or broken archive may raise anything
        raise LoopError(
            f"skops can't load the model file: {error}. Export the model again."
        ) from error


def _canonical(data: bytes) -> bytes:
    """Return the same archive without names and times that depend on the process.

    skops names objects and files by memory address or by a random UUID, and zip adds the time. So
    two exports of one model would get two digests. Only the equality of names matters.
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
