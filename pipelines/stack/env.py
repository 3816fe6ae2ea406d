"""Write `.env` with new secrets from `.env.example` (`make up`).

Variables that `.env.example` leaves empty are secrets; this script draws them. It never changes the
secrets of an existing `.env`, because the volumes use them. Arguments `NAME=value` after the folder
are set in `.env`. The standard library only: any Python 3 can run it.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import sys
import tempfile
from functools import partial
from pathlib import Path

EMPTY_VARIABLE = re.compile(r"^([A-Z][A-Z0-9_]*)=$", re.MULTILINE)
TOKEN_VARIABLE = re.compile(r"^MLOPS_(PREDICT|FEEDBACK|ADMIN)_TOKEN=(.+)$", re.MULTILINE)

MOUNTED = ("serving/stack", "monitoring/stack")


def fill_secrets(example: str) -> str:
    """Return `example` with a secret of 192 bits for each empty variable."""
    # Hexadecimal: URLs, Redis' configuration and Feast's connection string hold it.
    return EMPTY_VARIABLE.sub(lambda match: f"{match[1]}={secrets.token_hex(24)}", example)


def add_token_hashes(text: str) -> str:
    """Return `text` with the hashes of the clients' tokens, which the service compares."""
    hashes = [
        f"{role.lower()}:{hashlib.sha256(token.encode()).hexdigest()}:{role.lower()}"
        for role, token in TOKEN_VARIABLE.findall(text)
    ]
    return f"{text.rstrip()}\nMLOPS_TOKENS={','.join(hashes)}\n"


def add_missing_secrets(folder: Path) -> list[str]:
    """Draw the secrets that an older `folder/.env` lacks; return their names."""
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
    """Write `folder/.env`, readable by its owner only; return False if it exists."""
    text = add_token_hashes(fill_secrets((folder / ".env.example").read_text()))
    try:
        # "x" never replaces a file, also not that of a concurrent call.
        with open(folder / ".env", "x", opener=partial(os.open, mode=0o600)) as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def set_variables(folder: Path, chosen: list[str]) -> None:
    """Set the variables of `chosen`, each as `NAME=value`, in `folder/.env`."""
    env = folder / ".env"
    names = tuple(each.split("=", 1)[0] + "=" for each in chosen)
    kept = [line for line in env.read_text().splitlines() if not line.startswith(names)]
    replace_file(env, "\n".join([*kept, *chosen]) + "\n", mode=0o600)


def replace_file(target: Path, text: str, mode: int) -> None:
    """Write the file durably: after a kill it is the old one or the new one."""
    number, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    with os.fdopen(number, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(number)
        os.chmod(draft, mode)
    os.replace(draft, target)


def digest_mounted_files(folder: Path) -> str:
    """Return a digest of the files that containers mount: their names and contents."""
    digest = hashlib.sha256()
    for path in sorted(path for part in MOUNTED for path in (folder / part).rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    home, chosen = Path(sys.argv[1]), sys.argv[2:]
    if write_env_file(home):
        print("Wrote .env with new secrets. Keep it on this machine.")
    elif added := add_missing_secrets(home):
        print("Added new secrets to .env:", *added)
    set_variables(home, [*chosen, f"MLOPS_FILES={digest_mounted_files(home)}"])
    if chosen:
        print("Set in .env:", *chosen)
