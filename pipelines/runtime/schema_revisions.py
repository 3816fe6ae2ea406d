"""The database revisions that MLflow and Prefect know, read from their Alembic migrations."""

import re
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from settings import LoopError, UserError

MLFLOW_MIGRATIONS = "store/db_migrations/versions"  # below the package, one file for each revision
PREFECT_MIGRATIONS = "server/database/_migrations/versions"  # with a folder for each engine

# Read as text: Alembic would import a hundred modules at every start.
REVISION_PATTERN = re.compile(r"""^revision(?:: str)? = ["'](\w+)["']""", re.MULTILINE)
DOWN_REVISION_PATTERN = re.compile(r"^down_revision(?:: [^=]+)? = (.+)$", re.MULTILINE)


@cache
def known_revisions(tool: str, subfolder: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return all revisions of the installed `tool`, and the newest.

    Raises `LoopError` if the tool is not installed.
    """
    spec = find_spec(tool)
    if spec is None or not spec.submodule_search_locations:
        raise LoopError(f"{tool} is not installed. Run `make install`.")
    return read_revisions(Path(spec.submodule_search_locations[0]) / subfolder)


def read_revisions(folder: Path) -> tuple[frozenset[str], frozenset[str]]:
    """Return all revisions in `folder`, and the newest: those without a successor."""
    text = "\n".join(file.read_text() for file in folder.glob("*.py"))
    revisions = frozenset(REVISION_PATTERN.findall(text))
    superseded = re.findall(r"\w+", " ".join(DOWN_REVISION_PATTERN.findall(text)))
    return revisions, revisions.difference(superseded)


def require_known_revisions(
    tool: str, current: set[str], known: frozenset[str] | set[str], hint: str
) -> None:
    """Raise `UserError` if the database has a revision in `current` that is not in `known`."""
    if unknown := current - known:
        raise UserError(
            f"The database of {tool} has the schema {', '.join(sorted(unknown))}, which {tool} "
            f"{version(tool)} does not know. A newer version has migrated it. Nothing was changed. "
            f"{hint}",
            code="state_newer",
        )
