"""Which secrets does this machine's stack use? Writes `.env` from `.env.example`, once.

Run by `make up` with whatever Python 3 there is. What `.env.example` leaves empty is a secret, and
is drawn here. A `.env` that exists is never touched: the volumes know its secrets.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
import tempfile
from pathlib import Path

EMPTY = re.compile(r"^([A-Z][A-Z0-9_]*)=$", re.MULTILINE)


def filled(example: str) -> str:
    """`example` with a secret of 192 bits for every variable that it leaves empty."""
    # Hexadecimal: it stands in URLs, in Redis' configuration and in Feast's connection string.
    return EMPTY.sub(lambda found: f"{found[1]}={secrets.token_hex(24)}", example)


def write(folder: Path) -> bool:
    """Makes `folder/.env`, for its owner alone; False if there is one already."""
    example = (folder / ".env.example").read_text()
    number, draft = tempfile.mkstemp(dir=folder, prefix=".env.")  # mode 600
    try:
        with os.fdopen(number, "w") as file:
            file.write(filled(example))
        os.link(draft, folder / ".env")  # whole or not at all, and never over another
    except FileExistsError:
        return False
    finally:
        os.unlink(draft)
    return True


if __name__ == "__main__":
    if write(Path(sys.argv[1])):
        print("Wrote .env with new secrets; it stays on this machine.")
