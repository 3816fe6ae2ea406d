"""The files of a served model, and their common digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from features import durable_files
from settings import LoopError

FORM_FILE = "evaluator.json"  # kind, columns in the model's order, categories of text columns
TREES_FILE = "model.treelite"
PIPELINE_FILE = "model.skops"
FILE_NAMES = (FORM_FILE, PIPELINE_FILE, TREES_FILE)


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
            f"The model in {folder} can't be read: {error}. Check its permissions and the disk."
        ) from error
    if (actual := _digest(files)) != digest:
        raise LoopError(
            f"The model in {folder} has the digest {actual[:12]}, but {digest[:12]} was released. "
            "It is missing, or not the approved one. Export it again from the registry."
        )
    return files


def _digest(files: Mapping[str, bytes]) -> str:
    """Return a sha256 over the files' names and sha256s."""
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
