"""Ed25519 keys of the release: a private key signs, and the public keys are trusted.

The trusted keys are those of every signature that counts: a signature names its key, so earlier
ones stay valid after a rotation. Both are PEM files. `python -m serving.release.keys` prints a new
pair for the stack.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from features import durable_files, locks
from settings import LoopError, Settings, UserError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

PUBLIC_KEY = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


def new_key_pair() -> tuple[bytes, bytes]:
    """Return a new private key and its public key as PEM; text before the latter describes it."""
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    public = key.public_key().public_bytes(
        forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo
    )
    text = f"Key: {key_id(key.public_key())}\nCreated: {datetime.now(UTC).isoformat()}\n"
    return private, text.encode() + public


def key_id(key: Ed25519PublicKey) -> str:
    """Return the name by which signatures refer to the key: 16 hexadecimal digits."""
    return sha256(key.public_bytes_raw()).hexdigest()[:16]


def has_no_keys(settings: Settings) -> bool:
    """Return whether this is a home that has signed nothing yet. Quick: every command asks."""
    named = settings.signing_key or settings.trusted_keys
    files = (settings.trusted_keys_file, settings.signing_key_file)
    return not named and not any(file.exists() for file in files)


def write_new_key(settings: Settings) -> str:
    """Sign with a new key from now on, and trust the earlier ones, too; return the new key's id."""
    with locks.hold_lock(_lock_file(settings), what="Another change of the keys"):
        _write_new_key(settings)
    return signing_key_id(settings)


def _lock_file(settings: Settings) -> Path:
    return settings.signing_key_file.with_name("lock")


def _write_new_key(settings: Settings) -> None:
    private, public = new_key_pair()
    trusted = settings.trusted_keys_file
    known = trusted.read_bytes() if trusted.exists() else b""
    # In this order: after a kill between the two, the old key still signs what is trusted.
    durable_files.write_file(trusted, known + public)
    durable_files.write_file(settings.signing_key_file, private, mode=0o600)


def signing_key_id(settings: Settings) -> str:
    """Return the id of the key that signs. Raises `LoopError` if it can't be read."""
    return key_id(private_key(settings).public_key())


def private_key(settings: Settings) -> Ed25519PrivateKey:
    """Return the key that signs; a home creates its own.

    Raises `LoopError` if the key is lost or malformed, and `UserError` if this process has none.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    _require_key(settings)
    file = settings.signing_key_file
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise LoopError(f"The signing key {file} can't be read: {error}. Restore it.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise LoopError(f"The signing key {file} is not an Ed25519 key. Restore it.")
    return key


def _require_key(settings: Settings) -> None:
    if settings.signing_key_file.exists():
        return
    if settings.signing_key or settings.trusted_keys:
        raise UserError(
            f"There is no signing key at {settings.signing_key_file}. In the stack only the worker "
            "and `loop` have it. Set MLOPS_SIGNING_KEY to its file."
        )
    with locks.hold_lock(_lock_file(settings), what="Another change of the keys"):
        if settings.signing_key_file.exists():
            return
        if settings.trusted_keys_file.exists():
            raise LoopError(
                f"The signing key {settings.signing_key_file} is lost. Restore it from a copy, or "
                "sign with a new one from now on: `mlops rotate-key`.",
                code="signing_key_lost",
            )
        _write_new_key(settings)


def read_trusted_keys(settings: Settings) -> dict[str, Ed25519PublicKey]:
    """Return the trusted keys by id; none if the file is missing. Other kinds are left out.

    Raises `LoopError` if a key is malformed.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    file = settings.trusted_keys_file
    try:
        keys = [load_pem_public_key(pem) for pem in PUBLIC_KEY.findall(file.read_bytes())]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise LoopError(f"The trusted keys {file} can't be read: {error}. Restore them.") from error
    return {key_id(key): key for key in keys if isinstance(key, Ed25519PublicKey)}


if __name__ == "__main__":
    print(*(pem.decode() for pem in new_key_pair()), sep="", end="")
