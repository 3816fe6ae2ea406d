"""The command `mlops`: every part of the loop, one by one and as a whole."""

from __future__ import annotations

import sys

# Imported for their commands, in the order in which help lists them.
from pipelines import (  # noqa: F401
    cli_loop,
    cli_operate,
    cli_prove,
    cli_record,
    cli_release,
    cli_replay,
    cli_rollout,
    cli_service,
)
from pipelines.cli_app import app

__all__ = ["app"]

if __name__ == "__main__":
    sys.exit(app())
