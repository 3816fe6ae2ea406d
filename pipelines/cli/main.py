"""The command `mlops`: every part of the loop, one by one and as a whole."""

from __future__ import annotations

import sys

# Imported for their commands, in the order in which help lists them.
from pipelines.cli import (  # noqa: F401
    loop,
    operate,
    prove,
    record,
    release,
    replay,
    rollout,
    service,
)
from pipelines.cli.app import app

__all__ = ["app"]

if __name__ == "__main__":
    sys.exit(app())
