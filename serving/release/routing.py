"""Which arm answers a request? By its key alone, so that every replica gives the same answer."""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

from serving.release.document import Release

Arm = Literal["champion", "challenger"]
HASH_RANGE = 2**64


def assign_arm(key: str, release: Release) -> Arm:
    """The arm of the case `key`: the same at every time and on every replica.

    A challenger whose percentage is raised keeps the keys that it had. The hash is keyed by the
    challenger's digest: each challenger meets other cases, and not the same few again and again.
    """
    challenger = release.challenger
    if challenger is None or challenger.stage == "shadow":
        return "champion"
    to_it = goes_to_challenger(key, challenger.model.digest, challenger.percent)
    return "challenger" if to_it else "champion"


def goes_to_challenger(key: str, digest: str, percent: float) -> bool:
    """Whether the case `key` is among the `percent` that go to the challenger with `digest`."""
    point = blake2b(key.encode(), digest_size=8, key=bytes.fromhex(digest)).digest()
    return int.from_bytes(point, "big") < percent / 100 * HASH_RANGE
