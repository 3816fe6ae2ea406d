"""Which arm answers a request? By its key alone, so that every replica gives the same answer."""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

from serving.release import Release

Arm = Literal["champion", "challenger"]
RANGE = 2**64


def arm(key: str, release: Release) -> Arm:
    """The arm of the case `key`: the same at every time and on every replica.

    A challenger whose percentage is raised keeps the keys that it had. The hash is keyed by the
    challenger's digest: each challenger meets other cases, and not the same few again and again.
    """
    challenger = release.challenger
    if challenger is None or challenger.stage == "shadow":
        return "champion"
    by = bytes.fromhex(challenger.model.digest)
    point = int.from_bytes(blake2b(key.encode(), digest_size=8, key=by).digest(), "big")
    return "challenger" if point < challenger.percent / 100 * RANGE else "champion"
