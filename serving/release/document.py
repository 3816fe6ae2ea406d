"""The release document: what the service has to serve. `pipelines.release` writes it."""

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
GENESIS = "0" * 64  # the head of an empty history


def _require_digest(name: str, value: object) -> None:
    if not (isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value)):
        raise ValueError(f"{name} must be a sha256 in hexadecimal, not {value!r}")


def _utc(name: str, moment: object) -> datetime:
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ValueError(f"{name} must be a time with a time zone, not {moment!r}")
    return moment.astimezone(UTC)


@dataclass(frozen=True)
class ServedModel:
    """A version of the model. Its decision is yes from the probability `threshold` on."""

    version: str
    digest: str  # from serving.models.evaluator.export_model
    path: str  # of the exported folder; relative to the document's folder
    threshold: float

    def __post_init__(self) -> None:
        if not (isinstance(self.version, str) and self.version):
            raise ValueError(f"version must be a non-empty text, not {self.version!r}")
        _require_digest("digest", self.digest)
        if not (isinstance(self.path, str) and self.path):
            raise ValueError(f"path must be a non-empty text, not {self.path!r}")
        if type(self.threshold) not in (int, float) or not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be a number from 0 to 1, not {self.threshold!r}")


@dataclass(frozen=True)
class Challenger:
    """A version next to the champion: scores every request as a shadow, or answers some of them."""

    model: ServedModel
    stage: Stage
    percent: float  # of the keys that it answers, above 0 up to 100; 0 as a shadow
    since: datetime  # UTC; start of this stage at this percentage
    name: str | None = None  # of the experiment, if it is one

    def __post_init__(self) -> None:
        if self.stage not in get_args(Stage):
            raise ValueError(f"stage must be one of {get_args(Stage)}, not {self.stage!r}")
        if type(self.percent) not in (int, float) or not 0 <= self.percent <= 100:
            raise ValueError(f"percent must be a number from 0 to 100, not {self.percent!r}")
        if (self.stage == "shadow") != (self.percent == 0):
            raise ValueError(f"a {self.stage} can't answer {self.percent} % of the keys")
        if self.name is not None and not (isinstance(self.name, str) and self.name):
            raise ValueError(f"name must be a non-empty text or null, not {self.name!r}")
        object.__setattr__(self, "since", _utc("since", self.since))


@dataclass(frozen=True)
class HistoryHead:
    """The number of entries in the release history, and the digest of the newest one."""

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
    """The models to serve from `changed_at` (UTC) on. Every change has a higher `generation`.

    `frozen`: the champion answers alone, and nothing is released until the freeze ends.
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
    """Return the release in the JSON value `fields`.

    Raises one of `MALFORMED_ERRORS` if it is malformed, also for unknown fields: a reader that
    ignores an arm would silently misroute.
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
    """Return the JSON of a release, or of another dataclass with such fields."""
    return json.dumps(asdict(document), indent=2, default=datetime.isoformat)


#: Raised for a malformed document, by `parse_release` or by the JSON parser.
MALFORMED_ERRORS = (ValueError, TypeError, KeyError, AttributeError)


def read_release(path: Path) -> Release | None:
    """Return the release at `path`; None if missing. Raises `LoopError` if it is malformed."""
    try:
        return parse_release(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, *MALFORMED_ERRORS) as error:
        raise LoopError(
            f"The release document {path} is malformed ({type(error).__name__}: {error}). The "
            "service keeps its models. `mlops repair` writes the document again from the registry."
        ) from error


def write_release(path: Path, release: Release) -> None:
    """Replace the document atomically: a reader sees the old one or the new one."""
    durable_files.write_file(path, document_json(release))
