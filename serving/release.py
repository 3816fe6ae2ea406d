"""What is the service to serve? The release document: written by the release, polled here."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serving.durable import sync_folder
from settings import LoopError


@dataclass(frozen=True)
class ServedModel:
    """One version of the model. Decides yes where the probability is at least `threshold`."""

    version: str
    digest: str  # as returned by serving.evaluator.export
    path: str  # of the exported folder; a relative one starts from the document's own folder
    threshold: float

    def __post_init__(self) -> None:
        if not (isinstance(self.version, str) and self.version):
            raise ValueError(f"version must be a text that is not empty, not {self.version!r}")
        if not (isinstance(self.digest, str) and re.fullmatch("[0-9a-f]{64}", self.digest)):
            raise ValueError(f"digest must be a sha256 in hexadecimal, not {self.digest!r}")
        if not (isinstance(self.path, str) and self.path):
            raise ValueError(f"path must be a text that is not empty, not {self.path!r}")
        if type(self.threshold) not in (int, float) or not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be a number from 0 to 1, not {self.threshold!r}")


@dataclass(frozen=True)
class Release:
    """What is served from `changed_at` (UTC) on; every change has a higher `generation`."""

    generation: int
    champion: ServedModel
    changed_at: datetime

    def __post_init__(self) -> None:
        if type(self.generation) is not int or self.generation < 1:
            raise ValueError(f"generation must be a whole number from 1, not {self.generation!r}")
        if self.changed_at.tzinfo is None:
            raise ValueError("changed_at must state its time zone")
        object.__setattr__(self, "changed_at", self.changed_at.astimezone(UTC))


def read(path: Path) -> Release | None:
    """The release at `path`; None when there is none. Raises `LoopError` when it is malformed.

    Unknown fields are malformed too: a reader that ignores an arm would misroute in silence.
    """
    try:
        fields = json.loads(path.read_bytes())
        return Release(
            champion=ServedModel(**fields.pop("champion")),
            changed_at=datetime.fromisoformat(fields.pop("changed_at")),
            **fields,
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise LoopError(
            f"The release document {path} cannot be used ({type(error).__name__}: {error}). "
            "Release a version again; what is served stays as it is until then."
        ) from error


def write(path: Path, release: Release) -> None:
    """Replaces the document at once: whoever reads sees the old one or the new one, whole."""
    fields: dict[str, Any] = asdict(release)
    fields["changed_at"] = release.changed_at.isoformat()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with unfinished.open("w") as file:
        json.dump(fields, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    sync_folder(path.parent)
