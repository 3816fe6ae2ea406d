"""Which files make a served model, and what is their one digest?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from features import durable_files
from settings import LoopError

FORM_FILE = (
    "evaluator.json"  # the kind, the columns in the model's order, the categories of the text ones
)
TREES_FILE = "model.treelite"
PIPELINE_FILE = "model.skops"
FILE_NAMES = (FORM_FILE, PIPELINE_FILE, TREES_FILE)


def write_model_files(folder: Path, files: Mapping[str, bytes]) -> str:
    """Makes `files` the served model in `folder`, and returns their digest."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILE_NAMES:
        if name in files:
            durable_files.write_file(folder / name, files[name])
        else:
            (folder / name).unlink(missing_ok=True)
    return _digest(files)


def read_model_files(folder: Path, digest: str) -> dict[str, bytes]:
    """The files in `folder`, each read once: what was hashed is what is parsed.

    Raises `LoopError` if they are missing or differ from `digest`. Other files are not looked at.
    """
    paths = [folder / name for name in FILE_NAMES]
    try:
        files = {path.name: path.read_bytes() for path in paths if path.exists()}
    except OSError as error:
        raise LoopError(f"The model in {folder} cannot be read: {error}") from error
    if (found := _digest(files)) != digest:
        raise LoopError(
            f"The model in {folder} has the digest {found[:12]}, but {digest[:12]} was released: "
            "it is missing, or it is not what was approved. Export it again from the registry."
        )
    return files


def _digest(files: Mapping[str, bytes]) -> str:
    """A sha256 over the names and the sha256 of the files."""
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
