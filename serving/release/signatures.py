"""Ed25519 signatures of release documents, audit entries and the files of versions.

docs/decisions/19-signed-by-the-loop.md says what they prove.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from serving.release import keys
from settings import LoopError, Settings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

# What is signed, so that a signature can't be moved to another kind of document.
Purpose = Literal["release", "staging", "entry", "version"]
UNSIGNED = "it is not signed"
UNTRUSTED = "it is signed by a key that is not trusted"
CHANGED = "it was changed after it was signed"


class SignatureError(LoopError):
    """A document or file has no signature by a trusted key, so it is not followed."""

    code = "not_signed"


def sign(settings: Settings, purpose: Purpose, content: bytes) -> str:
    """Return the signature of `content` with the id of its key.

    Creates the key of a home that has none. Raises `LoopError` if the key is lost, and `UserError`
    if this process has none.
    """
    key = keys.private_key(settings)
    name = keys.key_id(key.public_key())
    if name not in keys.read_trusted_keys(settings):
        raise LoopError(
            f"Nothing was signed: the key {name} in {settings.signing_key_file} is not among the "
            f"trusted keys {settings.trusted_keys_file}. Restore the file that is wrong."
        )
    signature = key.sign(_signed_bytes(purpose, content))
    return f"{name}:{base64.b64encode(signature).decode()}"


def _signed_bytes(purpose: Purpose, content: bytes) -> bytes:
    return f"mlops-loop {purpose}\n".encode() + content


def find_fault(
    trusted: Mapping[str, Ed25519PublicKey], purpose: Purpose, content: bytes,
    signature: str | None,
) -> str | None:  # fmt: skip
    """Return why the signature of `content` does not count; None if a trusted key made it."""
    from cryptography.exceptions import InvalidSignature

    if not signature:
        return UNSIGNED
    name, _, encoded = signature.partition(":")
    if name not in trusted:
        return UNTRUSTED
    try:
        trusted[name].verify(base64.b64decode(encoded), _signed_bytes(purpose, content))
    except (InvalidSignature, ValueError):
        return CHANGED
    return None


def sign_json(settings: Settings, purpose: Purpose, fields: Mapping[str, Any]) -> str:
    """Return `fields` with their signature, as JSON."""
    signature = sign(settings, purpose, _canonical(fields))
    return json.dumps({**fields, "signature": signature}, indent=2)


def split_signed_json(text: str | bytes) -> tuple[bytes, str | None]:
    """Return the canonical JSON of the fields and their signature. Raises `ValueError`."""
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError(f"it is not an object, but {type(fields).__name__}")
    signature = fields.pop("signature", None)
    return _canonical(fields), None if signature is None else str(signature)


def read_signed_json(settings: Settings, purpose: Purpose, text: str | bytes) -> bytes:
    """Return the signed fields as JSON: exactly the bytes that were verified.

    Raises `SignatureError` without a signature by a trusted key, `ValueError` for another text.
    """
    content, signature = split_signed_json(text)
    if fault := find_fault(keys.read_trusted_keys(settings), purpose, content, signature):
        raise SignatureError(fault)
    return content


def _canonical(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
