"""Is requirements.lock in step with pyproject.toml? It carries the digest of what it was made from.

`--write` puts the digest in, as `make lock` does right after it resolved.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
MARK = "# made from the dependencies with sha256 "


def digest() -> str:
    """Of everything in pyproject.toml that the resolver reads."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    read = {
        "dependencies": project["project"]["dependencies"],
        "dev": project["dependency-groups"]["dev"],
        "requires-python": project["project"]["requires-python"],
        "build": project["build-system"]["requires"],
    }
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()


def main() -> int:
    lines = LOCK.read_text().splitlines()
    if sys.argv[1:] == ["--write"]:
        kept = [line for line in lines if not line.startswith(MARK)]
        LOCK.write_text("\n".join([MARK + digest(), *kept]) + "\n")
        return 0
    if lines[0] != MARK + digest():
        print("requirements.lock was not made from this pyproject.toml: run `make lock`.")
        return 1
    print("requirements.lock is in step with pyproject.toml")
    return 0


if __name__ == "__main__":
    sys.exit(main())
