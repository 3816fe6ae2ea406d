"""Assigns each case to an arm by its key alone, so that all replicas agree."""

from hashlib import blake2b
from typing import Literal

from serving.release.document import Release

Arm = Literal["champion", "challenger"]
HASH_RANGE = 2**64


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
