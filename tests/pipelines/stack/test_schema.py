"""The revisions of the databases that the installed code knows."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from pipelines.runtime import schema_revisions
from pipelines.stack import schema
from settings import LoopError


@pytest.mark.parametrize("tool", schema.TOOL_DATABASES)
def test_they_are_those_that_alembic_finds(tool: str) -> None:
    spec = find_spec(tool)
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / schema.TOOL_DATABASES[tool][1]
    known, newest = schema_revisions.read_revisions(folder)
    script = ScriptDirectory(str(folder), version_locations=[str(folder)])
    assert known == {each.revision for each in script.walk_revisions()}
    assert newest == set(script.get_heads())


def test_an_unknown_revision_is_refused_and_a_known_or_none_is_not() -> None:
    schema_revisions.require_known_revisions("mlflow", {"a"}, {"a", "b"}, "Mend it.")
    schema_revisions.require_known_revisions("mlflow", set(), {"a", "b"}, "Mend it.")
    with pytest.raises(LoopError, match=r"schema c, which mlflow .* does not know.* Mend it\."):
        schema_revisions.require_known_revisions("mlflow", {"c"}, {"a", "b"}, "Mend it.")
    with pytest.raises(LoopError, match="does not know"):
        schema_revisions.require_known_revisions("mlflow", {"a"}, set(), "Mend it.")
