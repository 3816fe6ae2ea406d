"""Which revision of its database's schema a tool knows, by the files of its Alembic migrations."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from settings import LoopError

MLFLOW_MIGRATIONS = "store/db_migrations/versions"  # below the package, a file for each revision
PREFECT_MIGRATIONS = (
    "server/database/_migrations/versions"  # and below that a folder for each engine
)

# By their text: Alembic would import a hundred modules and their packages at every start.
REVISION_PATTERN = re.compile(r"""^revision(?:: str)? = ["'](\w+)["']""", re.MULTILINE)
DOWN_REVISION_PATTERN = re.compile(r"^down_revision(?:: [^=]+)? = (.+)$", re.MULTILINE)


@cache
def known_revisions(tool: str, below: str) -> tuple[frozenset[str], frozenset[str]]:
    """All revisions that the installed `tool` knows, and the newest. Raises `LoopError`."""
    spec = find_spec(tool)
    if spec is None or not spec.submodule_search_locations:
        raise LoopError(f"{tool} is not installed.")
    return read_revisions(Path(spec.submodule_search_locations[0]) / below)


def read_revisions(folder: Path) -> tuple[frozenset[str], frozenset[str]]:
    """All revisions whose files are in `folder`, and the newest: those that no other follows."""
    found, followed = set[str](), set[str]()
    for file in folder.glob("*.py"):
        text = file.read_text()
        found.update(REVISION_PATTERN.findall(text))
        for before in DOWN_REVISION_PATTERN.findall(text):
            followed.update(re.findall(r"\w+", before))
    return frozenset(found), frozenset(found - followed)


def require_known_revisions(
    tool: str, found: set[str], known: frozenset[str] | set[str], mend: str
) -> None:
    """Raises `LoopError` if the database is at a revision that this version doesn't have."""
    if unknown := found - known:
        raise LoopError(
            f"The database of {tool} has the schema {', '.join(sorted(unknown))}, which {tool} "
            f"{version(tool)} does not know: a newer version has migrated it. Nothing was changed. "
            f"{mend}"
        )
