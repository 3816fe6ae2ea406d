"""The files of a version, and their signed list: the sha256 of each file beside the digest.

The digest is that of the served form: releases, approvals and predictions name it. The list is
signed when the version is registered, so MLflow can't replace a file of it.
"""

import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from features import durable_files
from serving.models.evaluator import Evaluator
from serving.release import keys, signatures
from serving.release.document import ServedModel
from settings import LoopError, Settings

LIST_FILE = "files.json"
CARD_FILE = "card.json"  # of a download: facts.json with the number of the version
NEEDED = ("reference.parquet", "facts.json", CARD_FILE)  # besides the model


def sign_files(settings: Settings, folder: Path, digest: str) -> None:
    """Write the signed list of all files below `folder`; the model must have the digest."""
    Evaluator.load(folder / "served", digest)
    files = {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    signed = signatures.sign_json(settings, "version", {"digest": digest, "files": files})
    durable_files.write_file(folder / LIST_FILE, signed)


def write_card(folder: Path) -> None:
    """Write the card of a downloaded version; the folder's name is its number."""
    durable_files.write_file(folder / CARD_FILE, _card_text(folder))


def verify_files(settings: Settings, folder: Path, digest: str) -> bool:
    """Check a downloaded version; return False if no trusted key signed its list.

    That is so for a version from before signatures, and after the loss of the key.
    Raises `LoopError` if a file differs from the list, or the model from `digest`.
    """
    Evaluator.load(folder / "served", digest)
    if missing := [name for name in NEEDED if not (folder / name).exists()]:
        raise LoopError(f"{folder} lacks {', '.join(missing)}.")
    try:
        text = (folder / LIST_FILE).read_bytes()
        content, signature = signatures.split_signed_json(text)
        trusted = keys.read_trusted_keys(settings)
        fault = signatures.find_fault(trusted, "version", content, signature)
        if fault in (signatures.UNSIGNED, signatures.UNTRUSTED):
            return False
        if fault is not None:
            raise LoopError(f"{folder / LIST_FILE}: {fault}.")
        listed = json.loads(content)
        if listed["digest"] != digest:
            raise LoopError(f"{folder / LIST_FILE} lists the files of another model.")
        for name, wanted in listed["files"].items():
            if sha256((folder / name).read_bytes()).hexdigest() != wanted:
                raise LoopError(f"{folder / name} is not the file that was registered.")
        if (folder / CARD_FILE).read_text() != _card_text(folder):
            raise LoopError(f"{folder / CARD_FILE} contradicts facts.json.")
    except FileNotFoundError as error:
        if Path(error.filename) == folder / LIST_FILE:
            return False
        raise LoopError(f"{error.filename} is missing.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LoopError(f"The files in {folder} can't be checked: {error!r}.") from error
    return True


def are_files_whole(
    settings: Settings, folder: Path, digest: str, *, is_vouched: bool = True
) -> bool:
    """Return whether `verify_files` passes; unless the digest is vouched for, only if signed."""
    try:
        return verify_files(settings, folder, digest) or is_vouched
    except LoopError:
        return False


def damaged_versions(settings: Settings, served: Iterable[ServedModel]) -> dict[Path, ServedModel]:
    """Return the served versions whose files are missing or damaged, by their folder."""
    folders = {(settings.release_file.parent / each.path).resolve().parent: each for each in served}
    return {
        folder: each for folder, each in folders.items()
        if not are_files_whole(settings, folder, each.digest)
    }  # fmt: skip


def _card_text(folder: Path) -> str:
    facts = json.loads((folder / "facts.json").read_bytes())
    return json.dumps({**facts, "version": folder.name}, indent=2)
