"""The rooms of the code: the picture in docs/architecture.md, their guides, and clear names."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import grimp
import networkx
import pytest

from tests import conftest

ROOT = Path(__file__).parents[1]
PACKAGES = ("pipelines", "monitoring", "serving", "features", "usecases")
MODULES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
ROOMS = sorted(
    file.parent for file in MODULES if file.name == "__init__.py" and file.parent.parent != ROOT
)
# A command, a Prefect task and the step that they run share one name: it is the same thing.
CALLERS = ("pipelines/cli/", "pipelines/flows/tasks.py")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(module: str) -> str:
    """The node of the picture that holds a module: a room of `pipelines`, or a package."""
    parts = module.split(".")
    return parts[1] if parts[0] == "pipelines" and len(parts) > 1 else parts[0]


def test_the_picture_in_the_document_is_that_of_the_code() -> None:
    """Its arrows are the imports between rooms, without those that a longer way implies."""
    code = grimp.build_graph(*PACKAGES, cache_dir=None)
    imports = networkx.DiGraph(
        (room_of(module), room_of(imported))
        for module in code.modules
        for imported in code.find_modules_directly_imported_by(module)
        if room_of(module) != room_of(imported)
    )
    document = (ROOT / "docs" / "architecture.md").read_text()
    picture = document.split("## Rooms", 1)[1].split("```mermaid", 1)[1].split("```", 1)[0]
    arrows = set(re.findall(r"(\w+) --> (\w+)", picture))
    assert arrows == set(networkx.transitive_reduction(imports).edges)


@pytest.mark.parametrize("room", ROOMS, ids=name_of)
def test_a_room_says_which_file_to_open(room: Path) -> None:
    guide = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
    files = {file.name for file in room.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert set(re.findall(r"(?<![/\w])(\w+\.py)\b", guide)) == files


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_begins_with_a_statement(module: Path) -> None:
    first = (ast.get_docstring(ast.parse(module.read_text())) or "?").splitlines()[0]
    assert "?" not in first


def test_one_public_name_is_one_thing() -> None:
    defined = defaultdict(list)
    for module in MODULES:
        if name_of(module).startswith(CALLERS):
            continue
        for node in ast.parse(module.read_text()).body:
            named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if named and not node.name.startswith("_"):
                defined[node.name].append(name_of(module))
    several = {name: files for name, files in defined.items() if len(files) > 1}
    # A process has its `main`; a use case has the `key` of a request and that of a case.
    assert set(several) <= {"main", "key"}, several


def test_no_private_name_is_used_by_another_module() -> None:
    used = []
    for module in MODULES:
        tree = ast.parse(module.read_text())
        ours = set()  # local names of modules of ours
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGES):
                ours |= {each.asname or each.name for each in node.names}
                used += [
                    f"{name_of(module)}:{node.lineno}: {each.name}"
                    for each in node.names if each.name.startswith("_")
                ]  # fmt: skip
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
                and node.value.id in ours and node.attr.startswith("_")
                and not node.attr.startswith("__")
            ):  # fmt: skip
                used.append(f"{name_of(module)}:{node.lineno}: {node.value.id}.{node.attr}")
    assert used == []


@pytest.mark.parametrize("file", conftest.FIRST)
def test_the_files_that_are_tested_first_exist(file: str) -> None:
    assert (ROOT / "tests" / file).is_file()


def test_the_tests_that_the_documents_name_exist() -> None:
    """Of a list like `tests/a.py::test_b`, `::test_c`, the short ones are of the file before."""
    absent = []
    for document in (ROOT / "docs").rglob("*.md"):
        file = ""
        for named, test in re.findall(
            r"`(tests/[\w/]+\.py)?(?:::(\w+)[^`]*)?`", document.read_text()
        ):
            file = named or file
            source = ROOT / file
            if file and not (source.is_file() and f"def {test}" in source.read_text()):
                absent.append(f"{document.name}: {file}::{test}")
    assert absent == []


def test_the_modules_that_the_documents_name_exist() -> None:
    packages = "|".join((*PACKAGES, "tests"))
    for document in [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        for named in re.findall(rf"`((?:{packages})/[\w/.]+\.\w+)`", document.read_text()):
            assert (ROOT / named).exists(), f"{document.name}: {named}"
