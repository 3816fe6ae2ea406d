"""Which secrets does this machine's stack use? Writes `.env` from `.env.example`, once.

Run by `make up` with whatever Python 3 there is. What `.env.example` leaves empty is a secret, and
is drawn here. The secrets of a `.env` that exists are never touched: the volumes know them. What is
given as `NAME=value` after the folder is set in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import sys
import tempfile
from pathlib import Path

EMPTY_VARIABLE = re.compile(r"^([A-Z][A-Z0-9_]*)=$", re.MULTILINE)
TOKEN_VARIABLE = re.compile(r"^MLOPS_(PREDICT|FEEDBACK|ADMIN)_TOKEN=(.+)$", re.MULTILINE)


def fill_secrets(example: str) -> str:
    """`example` with a secret of 192 bits for every variable that it leaves empty."""
    # Hexadecimal: it stands in URLs, in Redis' configuration and in Feast's connection string.
    return EMPTY_VARIABLE.sub(lambda found: f"{found[1]}={secrets.token_hex(24)}", example)


def add_token_hashes(text: str) -> str:
    """`text` with the hashes of the clients' tokens, which the service knows them by."""
    known = [
        f"{role.lower()}:{hashlib.sha256(token.encode()).hexdigest()}:{role.lower()}"
        for role, token in TOKEN_VARIABLE.findall(text)
    ]
    return f"{text.rstrip()}\nMLOPS_TOKENS={','.join(known)}\n"


def add_missing_secrets(folder: Path) -> list[str]:
    """Draws what `folder/.env` lacks of the secrets: it may be older than they are. Their names."""
    text = (folder / ".env").read_text()
    have = {line.split("=", 1)[0] for line in text.splitlines()}
    example = (folder / ".env.example").read_text()
    lacking = [name for name in EMPTY_VARIABLE.findall(example) if name not in have]
    drawn = fill_secrets("".join(f"{name}=\n" for name in lacking))
    if lacking or "MLOPS_TOKENS" not in have:
        tokens = add_token_hashes(text + "\n" + drawn).splitlines()[-1]
        set_variables(folder, [*drawn.splitlines(), tokens])
    return lacking


def write_env_file(folder: Path) -> bool:
    """Makes `folder/.env`, for its owner alone; False if there is one already."""
    example = (folder / ".env.example").read_text()
    number, draft = tempfile.mkstemp(dir=folder, prefix=".env.")  # mode 600
    try:
        with os.fdopen(number, "w") as file:
            file.write(add_token_hashes(fill_secrets(example)))
        os.link(draft, folder / ".env")  # whole or not at all, and never over another
    except FileExistsError:
        return False
    except OSError:  # a file system without links; that nobody writes it meanwhile is all we know
        if (folder / ".env").exists():
            return False
        os.rename(draft, folder / ".env")
        return True
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
    return True


def set_variables(folder: Path, chosen: list[str]) -> None:
    """Has `folder/.env` say `NAME=value` for each of `chosen`, in place of what it said before."""
    env = folder / ".env"
    names = tuple(each.split("=", 1)[0] + "=" for each in chosen)
    kept = [line for line in env.read_text().splitlines() if not line.startswith(names)]
    number, draft = tempfile.mkstemp(dir=folder, prefix=".env.")
    with os.fdopen(number, "w") as file:
        file.write("\n".join([*kept, *chosen]) + "\n")
    os.replace(draft, env)


if __name__ == "__main__":
    if write_env_file(Path(sys.argv[1])):
        print("Wrote .env with new secrets; it stays on this machine.")
    elif lacked := add_missing_secrets(Path(sys.argv[1])):
        print("Drew for .env what it lacked:", *lacked)
    if sys.argv[2:]:
        set_variables(Path(sys.argv[1]), sys.argv[2:])
        print("Set in .env:", *sys.argv[2:])
