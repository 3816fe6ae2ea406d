"""Check that requirements.lock was made from the current pyproject.toml, by a digest in the lock.

`--write` writes the digest; `make lock` calls it after resolving.
"""

import hashlib
import json
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
MARK = "# made from the dependencies with sha256 "


def digest() -> str:
    """Return the digest of all parts of pyproject.toml that the resolver reads."""
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
        others = [line for line in lines if not line.startswith(MARK)]
        LOCK.write_text("\n".join([MARK + digest(), *others]) + "\n")
        return 0
    if lines[0] != MARK + digest():
        print("requirements.lock was not made from this pyproject.toml. Run `make lock`.")
        return 1
    print("requirements.lock matches pyproject.toml")
    return 0


if __name__ == "__main__":
    sys.exit(main())
