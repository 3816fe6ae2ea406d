"""The release document: what the service has to serve, and which arm answers each case.

`pipelines.release` writes it. The arm depends on the case's key alone, so that all replicas agree.
"""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass

from features import durable_files
from serving.release import signatures
from serving.remedies import remedy_command
from settings import LoopError, Settings

Arm = Literal["champion", "challenger"]
Stage = Literal["shadow", "canary", "experiment"]
HASH_RANGE = 2**64
GENESIS = "0" * 64  # the head of an empty history
# Unknown fields are refused, too: a reader that ignores an arm would silently misroute.
STRICT = ConfigDict(extra="forbid", strict=True)
Text = Annotated[str, Field(min_length=1)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]  # sha256 in hexadecimal
UtcTime = Annotated[AwareDatetime, AfterValidator(lambda moment: moment.astimezone(UTC))]


@dataclass(frozen=True, config=STRICT)
class ServedModel:
    """A version of the model. Its decision is yes from the probability `threshold` on."""

    version: Text
    digest: Digest  # from serving.models.evaluator.export_model
    path: Text  # of the exported folder; relative to the document's folder
    threshold: Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, config=STRICT)
class Challenger:
    """A version next to the champion: scores every request as a shadow, or answers some of them."""

    model: ServedModel
    stage: Stage
    percent: Annotated[float, Field(ge=0, le=100)]  # of the keys that it answers; a shadow: 0
    since: UtcTime  # start of this stage at this percentage
    name: Text | None = None  # of the experiment, if it is one

    @model_validator(mode="after")
    def _require_fitting_percent(self) -> Self:
        if (self.stage == "shadow") != (self.percent == 0):
            raise ValueError(f"a {self.stage} can't answer {self.percent} % of the keys")
        return self


@dataclass(frozen=True, config=STRICT)
class HistoryHead:
    """The number of entries in the release history, and the digest of the newest one."""

    count: Annotated[int, Field(ge=0)] = 0
    head: Digest = GENESIS

    @model_validator(mode="after")
    def _require_fitting_head(self) -> Self:
        if (self.count == 0) != (self.head == GENESIS):
            raise ValueError(f"a history of {self.count} entries can't have the head {self.head}")
        return self


@dataclass(frozen=True, config=STRICT)
class Release:
    """The models to serve from `changed_at` on. Every change has a higher `generation`.

    `frozen`: the champion answers alone, and nothing is released until the freeze ends.
    """

    generation: Annotated[int, Field(ge=1)]
    champion: ServedModel
    changed_at: UtcTime
    challenger: Challenger | None = None
    frozen: bool = False
    history: HistoryHead = HistoryHead()

    @model_validator(mode="after")
    def _require_fitting_challenger(self) -> Self:
        if self.challenger is not None and self.frozen:
            raise ValueError("a frozen release can't have a challenger")
        if self.challenger and self.challenger.model.version == self.champion.version:
            raise ValueError(f"version {self.champion.version} can't challenge itself")
        return self


RELEASE_ADAPTER = TypeAdapter(Release)


def document_fields(document: Any) -> dict[str, Any]:
    """Return a release, or another dataclass with such fields, as values of JSON."""
    fields: dict[str, Any] = json.loads(json.dumps(asdict(document), default=datetime.isoformat))
    return fields


def first_fault(error: ValidationError) -> str:
    """Return the first fault of a malformed document: field and reason, in one line."""
    fault = error.errors(include_url=False, include_context=False)[0]
    return f"{'.'.join(map(str, fault['loc'])) or 'document'}: {fault['msg']}"


def describe_fault(error: Exception) -> str:
    """Return why a document can't be read, in one line."""
    return first_fault(error) if isinstance(error, ValidationError) else str(error)


def read_release(settings: Settings, file: Path | None = None) -> Release | None:
    """Return the release in `file`, by default that of production; None if it is missing.

    Raises `LoopError` if it is malformed, and `SignatureError` if no trusted key signed it.
    """
    file = file or settings.release_file
    try:
        text = file.read_bytes()
        return parse_release(signatures.read_signed_json(settings, _purpose(file), text))
    except FileNotFoundError:
        return None
    except signatures.SignatureError as error:
        code = "staging_file_malformed" if _is_staged(file) else "not_signed"
        raise signatures.SignatureError(
            f"The release document {file} is not followed: {error}. The service keeps its models. "
            f"`{remedy_command(code)}` writes the document again. If a version without signatures "
            "wrote it, or the keys were lost: `mlops repair --adopt`.",
            code=code,
        ) from error
    except (OSError, ValueError) as error:
        code = "staging_file_malformed" if _is_staged(file) else "release_file_malformed"
        raise LoopError(
            f"The release document {file} is malformed ({describe_fault(error)}). The service "
            f"keeps its models. `{remedy_command(code)}` writes the document again.",
            code=code,
        ) from error


def parse_release(text: str | bytes) -> Release:
    """Return the release of JSON without a signature. Raises `ValidationError`."""
    return RELEASE_ADAPTER.validate_json(text)


def write_release(settings: Settings, release: Release, file: Path | None = None) -> None:
    """Sign the document and replace it atomically: a reader sees the old one or the new one.

    `file` is by default that of production. A second copy is for services that start while the
    file is damaged. Raises `LoopError` without the signing key.
    """
    file = file or settings.release_file
    signed = signatures.sign_json(settings, _purpose(file), document_fields(release))
    for each in (last_good_file(file), file):
        durable_files.write_file(each, signed)


def last_good_file(file: Path) -> Path:
    """Return the second copy of the release document `file`."""
    return file.with_name(f"{file.stem}.last-good.json")


def _purpose(file: Path) -> signatures.Purpose:
    return "staging" if _is_staged(file) else "release"


def _is_staged(file: Path) -> bool:
    return file.name.startswith("staging")


def assign_arm(key: str, release: Release) -> Arm:
    """Return the arm of the case `key`: always the same, on every replica.

    A challenger whose percentage rises keeps the keys that it had. The hash is keyed with the
    challenger's digest, so that each challenger gets other cases.
    """
    challenger = release.challenger
    if challenger is None or challenger.stage == "shadow":
        return "champion"
    challenged = goes_to_challenger(key, challenger.model.digest, challenger.percent)
    return "challenger" if challenged else "champion"


def goes_to_challenger(key: str, digest: str, percent: float) -> bool:
    """Return True if `key` is among the `percent` of keys of the challenger with `digest`."""
    point = blake2b(key.encode(), digest_size=8, key=bytes.fromhex(digest)).digest()
    return int.from_bytes(point, "big") < percent / 100 * HASH_RANGE
