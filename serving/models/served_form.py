"""The served form of a fitted pipeline: bare trees where exact, else the pipeline; its files."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from features import durable_files
from serving.models import skops_file
from settings import LoopError

FORM_FILE = "evaluator.json"  # kind, columns in the model's order, categories of text columns
TREES_FILE = "model.treelite"
PIPELINE_FILE = "model.skops"
FILE_NAMES = (FORM_FILE, PIPELINE_FILE, TREES_FILE)


def choose_served_form(model: Any) -> tuple[dict[str, Any], bytes]:
    """Return the description (kind, columns, categories) and the bytes of a fitted Pipeline.

    Kind "trees": a HistGradientBoostingClassifier on passed-through columns and on text columns
    under an OrdinalEncoder that maps missing and unknown texts to NaN. Kind "sklearn": all others.
    Raises `LoopError` if `model` is not a classifier of the classes 0 and 1, fitted on a frame.
    """
    if not hasattr(model, "steps"):
        raise LoopError(
            f"Only a Pipeline can be served, not a {type(model).__name__}. Wrap the model in one."
        )
    if [int(label) for label in getattr(model, "classes_", [])] != [0, 1]:
        raise LoopError(
            "Only a fitted classifier of the classes 0 and 1 can be served. Check `classes_`."
        )
    if not hasattr(model, "feature_names_in_"):
        raise LoopError("The model does not know its columns. Fit it on a frame, not on an array.")
    if (form := _form_of_trees(model)) is not None:
        import treelite

        return form, treelite.sklearn.import_model(model[-1]).serialize_bytes()
    form = {
        "kind": "sklearn",
        "columns": [str(name) for name in model.feature_names_in_],
        "categories": {column: [] for column in _text_columns(model)},
    }
    return form, skops_file.dump_skops(model)


def _transformers(model: Any) -> list[tuple[Any, Any, list[str]]]:
    """Return (as written, as fitted, columns) for each part of a ColumnTransformer as first step.

    A fitted "passthrough" is not recognisable, so the written part comes with it. Dropped parts and
    parts without columns are left out.
    """
    from sklearn.compose import ColumnTransformer

    first = model[0]
    if not isinstance(first, ColumnTransformer):
        return []
    written = {name: part for name, part, _ in first.transformers} | {"remainder": first.remainder}
    return [
        (written[name], fitted, [str(column) for column in columns])
        for name, fitted, columns in first.transformers_
        if len(columns) and written[name] != "drop"
    ]


def _form_of_trees(model: Any) -> dict[str, Any] | None:
    """Return the columns in the trees' order, and the text columns' categories in code order.

    None if the pipeline does more than that, and for native categories, which other evaluators
    silently get wrong. An encoder fitted with None has it as a category with its own code:
    `encoded_missing_value` applies to NaN only.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    forest = model[-1]
    columns: list[str] = []
    categories: dict[str, list[str | None]] = {}
    if not isinstance(forest, HistGradientBoostingClassifier) or len(model.steps) != 2:
        return None
    if getattr(forest, "is_categorical_", None) is not None:
        return None
    for written, fitted, names in _transformers(model):
        if written != "passthrough":
            if not _is_plain_ordinal(fitted):
                return None
            categories |= zip(names, map(_without_nan, fitted.categories_), strict=True)
        columns += names
    is_text = all(c is None or isinstance(c, str) for values in categories.values() for c in values)
    if not columns or not is_text or len(set(columns)) < len(columns):
        return None
    return {"kind": "trees", "columns": columns, "categories": categories}


def _without_nan(categories: Any) -> list[Any]:
    """Drop NaN. Raises `LoopError` for both None and NaN, which a request can't tell apart."""
    kept = [c for c in categories if not _is_nan(c)]
    if len(kept) < len(categories) and None in kept:
        raise LoopError(
            "The model was fitted with both None and NaN for a missing text. Use None only."
        )
    return kept


def _is_plain_ordinal(encoder: Any) -> bool:
    """Return True if codes are positions, and missing and unknown texts become NaN."""
    from sklearn.preprocessing import OrdinalEncoder

    return (
        isinstance(encoder, OrdinalEncoder)
        and encoder.handle_unknown == "use_encoded_value"
        and _is_nan(encoder.unknown_value)
        and _is_nan(encoder.encoded_missing_value)
        and encoder.max_categories is None
        and encoder.min_frequency is None
    )


def _text_columns(model: Any) -> list[str]:
    """Return the columns that an encoder with categories reads. All others are numbers.

    Raises `LoopError` if one was fitted with NaN for a missing text: the service passes None, and
    scikit-learn treats the two as different categories.
    """
    categories = [
        pair
        for _, fitted, names in _transformers(model)
        for step in getattr(fitted, "named_steps", {"": fitted}).values()
        for pair in zip(names, getattr(step, "categories_", ()), strict=False)
    ]
    for name, values in categories:
        if any(map(_is_nan, values)):
            raise LoopError(
                f"The fit had NaN for missing texts of {name}. They must be None, not NaN."
            )
    return [name for name, _ in categories]


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def write_model_files(folder: Path, files: Mapping[str, bytes]) -> str:
    """Make `files` the served model in `folder`; return their digest."""
    for name, content in files.items():
        durable_files.write_file(folder / name, content)
    for name in set(FILE_NAMES) - set(files):
        (folder / name).unlink(missing_ok=True)
    return _digest(files)


def read_model_files(folder: Path, digest: str) -> dict[str, bytes]:
    """Return the files in `folder`. Each is read once, so the hashed bytes are the parsed ones.

    Raises `LoopError` if they are missing or differ from `digest`. Ignores other files.
    """
    paths = [folder / name for name in FILE_NAMES]
    try:
        files = {path.name: path.read_bytes() for path in paths if path.exists()}
    except OSError as error:
        raise LoopError(
            f"The model in {folder} can't be read: {error}. Check its permissions and the disk.",
            code="model_damaged",
        ) from error
    if (actual := _digest(files)) != digest:
        raise LoopError(
            f"The model in {folder} has the digest {actual[:12]}, but {digest[:12]} was released. "
            "It is missing, or not the approved one. `mlops repair` downloads it again.",
            code="model_damaged",
        )
    return files


def read_card(folder: Path) -> dict[str, Any]:
    """Return the facts on the version in `folder`. Raise `LoopError` if they can't be read."""
    try:
        return dict(json.loads((folder / "card.json").read_bytes()))
    except (OSError, ValueError) as error:
        raise LoopError(
            f"{folder / 'card.json'} is missing or damaged ({error}). `mlops repair` downloads it "
            "again.",
            code="model_damaged",
        ) from error


def _digest(files: Mapping[str, bytes]) -> str:
    """Return a sha256 over the files' names and sha256s."""
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
