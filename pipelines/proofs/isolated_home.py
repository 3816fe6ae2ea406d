"""Homes of the proofs, which share no store with any other home."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from features import durable_files, partitions
from settings import Settings


@contextmanager
def home_environment(settings: Settings) -> Iterator[None]:
    """Set the environment of this home; restore environment and folder at the end."""
    before, folder = dict(os.environ), Path.cwd()
    os.environ.update(settings.environment())
    try:
        yield
    finally:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(before)


def copy_home(source: Settings, folder: Path) -> Settings:
    """Return a home with the data of `source` and an online store of its own."""
    own = Settings.isolated(folder)
    shutil.copytree(source.home / "data", own.home / "data", copy_function=link_or_copy_file)
    shutil.copytree(source.home / "usecase", own.home / "usecase")
    return own


def link_or_copy_file(source: str, target: str) -> None:
    """Link a partition, which is replaced and never written to; copy other files."""
    is_partition = source.endswith(partitions.SUFFIX)
    (durable_files.link_or_copy if is_partition else shutil.copy)(source, target)
