"""What is the service to serve? The release document: written by the release, polled here."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from features import durable_files
from settings import LoopError

Stage = Literal["shadow", "canary", "experiment"]
GENESIS = "0" * 64  # the head of a history without entries


def _require_digest(name: str, value: object) -> None:
    if not (isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value)):
        raise ValueError(f"{name} must be a sha256 in hexadecimal, not {value!r}")


def _utc(name: str, moment: object) -> datetime:
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ValueError(f"{name} must be a time that states its time zone, not {moment!r}")
    return moment.astimezone(UTC)


@dataclass(frozen=True)
class ServedModel:
    """One version of the model. Decides yes where the probability is at least `threshold`."""

    version: str
    digest: str  # as returned by serving.models.evaluator.export_model
    path: str  # of the exported folder; a relative one starts from the document's own folder
    threshold: float

    def __post_init__(self) -> None:
        if not (isinstance(self.version, str) and self.version):
            raise ValueError(f"version must be a text that is not empty, not {self.version!r}")
        _require_digest("digest", self.digest)
        if not (isinstance(self.path, str) and self.path):
            raise ValueError(f"path must be a text that is not empty, not {self.path!r}")
        if type(self.threshold) not in (int, float) or not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be a number from 0 to 1, not {self.threshold!r}")


@dataclass(frozen=True)
class Challenger:
    """A version beside the champion: in the shadow of every request, or answering some of them."""

    model: ServedModel
    stage: Stage
    percent: float  # of the keys that it answers, above 0 to 100; 0 in the shadow
    since: datetime  # UTC; of this stage at this percentage
    name: str | None = None  # of the experiment, if it is one

    def __post_init__(self) -> None:
        if self.stage not in get_args(Stage):
            raise ValueError(f"stage must be one of {get_args(Stage)}, not {self.stage!r}")
        if type(self.percent) not in (int, float) or not 0 <= self.percent <= 100:
            raise ValueError(f"percent must be a number from 0 to 100, not {self.percent!r}")
        if (self.stage == "shadow") != (self.percent == 0):
            raise ValueError(f"a {self.stage} can't answer {self.percent} % of the keys")
        if self.name is not None and not (isinstance(self.name, str) and self.name):
            raise ValueError(f"name must be a text that is not empty, or null, not {self.name!r}")
        object.__setattr__(self, "since", _utc("since", self.since))


@dataclass(frozen=True)
class HistoryHead:
    """How many entries the record of releases has, and the digest of its newest one."""

    count: int = 0
    head: str = GENESIS

    def __post_init__(self) -> None:
        if type(self.count) is not int or self.count < 0:
            raise ValueError(f"count must be a whole number from 0, not {self.count!r}")
        _require_digest("head", self.head)
        if (self.count == 0) != (self.head == GENESIS):
            raise ValueError(f"a history of {self.count} entries can't have the head {self.head}")


@dataclass(frozen=True)
class Release:
    """What is served from `changed_at` (UTC) on; every change has a higher `generation`.

    `frozen`: the champion alone, and no release until that is lifted.
    """

    generation: int
    champion: ServedModel
    changed_at: datetime
    challenger: Challenger | None = None
    frozen: bool = False
    history: HistoryHead = HistoryHead()

    def __post_init__(self) -> None:
        if type(self.generation) is not int or self.generation < 1:
            raise ValueError(f"generation must be a whole number from 1, not {self.generation!r}")
        if type(self.frozen) is not bool:
            raise ValueError(f"frozen must be true or false, not {self.frozen!r}")
        if self.challenger is not None:
            if self.frozen:
                raise ValueError("a frozen release can't have a challenger")
            if self.challenger.model.version == self.champion.version:
                raise ValueError(f"version {self.champion.version} can't challenge itself")
        object.__setattr__(self, "changed_at", _utc("changed_at", self.changed_at))


def parse_release(fields: Any) -> Release:
    """The release that the JSON value `fields` says.

    Raises ValueError, TypeError, KeyError or AttributeError if it is none. Unknown fields make it
    none: a reader that ignores an arm would misroute in silence.
    """
    fields = dict(fields)
    challenger = fields.pop("challenger", None)
    return Release(
        champion=ServedModel(**fields.pop("champion")),
        changed_at=datetime.fromisoformat(fields.pop("changed_at")),
        challenger=None if challenger is None else _challenger(challenger),
        history=HistoryHead(**fields.pop("history", {})),
        **fields,
    )


def _challenger(fields: dict[str, Any]) -> Challenger:
    fields = dict(fields)
    return Challenger(
        model=ServedModel(**fields.pop("model")),
        since=datetime.fromisoformat(fields.pop("since")),
        **fields,
    )


def document_json(document: Any) -> str:
    """A release, or another dataclass of such fields, as `parse_release` reads it."""
    return json.dumps(asdict(document), indent=2, default=datetime.isoformat)


#: What `parse_release` and the reading of JSON raise for what is no document.
MALFORMED_ERRORS = (ValueError, TypeError, KeyError, AttributeError)


def read_release(path: Path) -> Release | None:
    """The release at `path`; None when there is none. Raises `LoopError` when it is malformed."""
    try:
        return parse_release(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, *MALFORMED_ERRORS) as error:
        raise LoopError(
            f"The release document {path} cannot be used ({type(error).__name__}: {error}). "
            "What is served stays as it is; `mlops repair` writes it anew from the registry."
        ) from error


def write_release(path: Path, release: Release) -> None:
    """Replaces the document at once: whoever reads sees the old one or the new one, whole."""
    durable_files.write_file(path, document_json(release))
