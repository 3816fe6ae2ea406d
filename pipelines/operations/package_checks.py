"""The checks of `mlops doctor` on Python and the installed packages."""

import platform
import re
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from pipelines.operations.home_checks import CheckResult
from pipelines.training.workspace import SOURCE_ROOT
from settings import Settings


def check_python(settings: Settings) -> CheckResult:
    from packaging.specifiers import SpecifierSet

    required, running = _project()["requires-python"], platform.python_version()
    supported = SpecifierSet(required).contains(running)
    return CheckResult(supported, f"Python {running}, needed: {required}", "python_unsupported")


def check_packages(settings: Settings) -> CheckResult:
    """Compare with requirements.lock; an image may lack the packages of developers."""
    from packaging.markers import Marker

    lock = (SOURCE_ROOT / "requirements.lock").read_text()
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)(?: ; (.+?))? \\$", lock, flags=re.MULTILINE)
    required = _required_packages()
    wrong, n_right = [], 0
    for name, pinned, marker in pins:
        if marker and not Marker(marker).evaluate():
            continue
        try:
            installed = version(name)
        except PackageNotFoundError:
            installed = "missing"
        if installed == pinned:
            n_right += 1
        elif installed != "missing" or name in required:
            wrong.append(f"{name} is {installed}, not {pinned}")
    message = "; ".join(wrong[:5]) or f"{n_right} packages match requirements.lock"
    return CheckResult(not wrong, message, "packages_differ")


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((SOURCE_ROOT / "pyproject.toml").read_text())["project"]
    return project


def _required_packages() -> set[str]:
    """Return the names of the packages that we need to run, with their dependencies."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    queue = [Requirement(each) for each in _project()["dependencies"]]
    names: set[str] = set()
    for requirement in queue:  # it grows by their dependencies
        name = canonicalize_name(requirement.name)
        if name in names:
            continue
        names.add(name)
        with suppress(PackageNotFoundError):  # reported as missing itself
            extras = [{"extra": extra} for extra in requirement.extras or [""]]
            queue += [
                each for each in map(Requirement, requires(name) or [])
                if each.marker is None or any(map(each.marker.evaluate, extras))
            ]  # fmt: skip
    return names
