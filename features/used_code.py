"""The code that methods of a use case use: what is computed from it is stale once it changes."""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from contract import UseCase
from features import partitions

ROOT = Path(__file__).parents[1]


def methods_digest(use_case: UseCase, methods: Sequence[str]) -> str:
    """Return a digest of the use case's class, and of all project files that `methods` import."""
    own = Path(inspect.getfile(type(use_case)))
    found, waiting = {own}, [
        textwrap.dedent(inspect.getsource(getattr(type(use_case), name))) for name in methods
    ]  # fmt: skip
    while waiting:
        for path in _imported_files(waiting.pop()):
            if path not in found:
                found.add(path)
                waiting.append(path.read_text())
    return partitions.recipe_digest(*sorted(found))


def _imported_files(source: str) -> Iterator[Path]:
    """Yield the files of the project's packages that `source` imports, in functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and "contract" not in node.module:
            base = ROOT.joinpath(*node.module.split("."))
            names = [base / alias.name for alias in node.names]
            for path in (base.with_suffix(".py"), *(each.with_suffix(".py") for each in names)):
                if path.is_file():
                    yield path
