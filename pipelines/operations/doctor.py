"""The checks of `mlops doctor`: each names what is wrong and the command that repairs it."""

import platform
import re
import shutil
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any, NamedTuple

from pipelines.runtime import exclusive, stage_command
from pipelines.training.workspace import SOURCE_ROOT
from serving.release import document
from settings import Settings

MIN_FREE_GB = 3


class CheckResult(NamedTuple):
    """The result of one check, and what repairs a failed one."""

    ok: bool
    message: str
    remedy: str = ""


def run_checks(settings: Settings) -> dict[str, CheckResult]:
    """Return the result of every check by its subject. A check that could not run has failed."""
    results = {}
    for check in CHECKS:
        subject = check.__name__.removeprefix("check_")
        try:
            results[subject] = check(settings)
        except Exception as error:
            results[subject] = CheckResult(
                False, f"could not be checked: {error}", "see the message"
            )
    return results


def check_python(settings: Settings) -> CheckResult:
    from packaging.specifiers import SpecifierSet

    required, running = _project()["requires-python"], platform.python_version()
    supported = SpecifierSet(required).contains(running)
    return CheckResult(supported, f"Python {running}", f"install a Python {required}")


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
    return CheckResult(not wrong, message, "make install")


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


def check_parameters(settings: Settings) -> CheckResult:
    stage_command.parse_time(settings.params().get("as_of"))
    return CheckResult(True, str(settings.params_file))


def check_disk(settings: Settings) -> CheckResult:
    free = shutil.disk_usage(settings.home).free / 1e9
    return CheckResult(free >= MIN_FREE_GB, f"{free:.0f} GB free", "make clean, or free some space")


def check_ports(settings: Settings) -> CheckResult:
    """Check the ports of the servers that we start ourselves."""
    ports = {}
    for ours, port, what, name in (
        (settings.owns_prefect, settings.prefect_port, "Prefect's server", "MLOPS_PREFECT_PORT"),
        (settings.owns_service, settings.service_port, "The service", "MLOPS_SERVICE_PORT"),
    ):
        if ours:
            ports[str(port)] = partial(exclusive.require_port_free, port, what, name)
    free = f"free: {', '.join(ports)}" if ports else "none needed, the settings name all servers"
    remedy = "stop the process that uses it, or set the variable to another port"
    return _all_of(ports, free, remedy)


def check_servers(settings: Settings) -> CheckResult:
    """Probe the servers in the settings with real work."""
    from pipelines.operations.probes import configured_probes

    probes = configured_probes(settings)
    working = f"working: {', '.join(probes)}" if probes else "the settings name none"
    return _all_of(probes, working, "see PartDown in docs/runbooks.md")


def _all_of(actions: Mapping[str, Callable[[], object]], ok: str, remedy: str) -> CheckResult:
    failures = []
    for name, action in actions.items():
        try:
            action()
        except Exception as error:  # any error means that the part does not work
            failures.append(f"{name}: {error}")
    return CheckResult(not failures, "; ".join(failures) or ok, remedy)


def check_recipe(settings: Settings) -> CheckResult:
    """Check the files of DVC; in an image a training makes its own configuration."""
    names = ["dvc.yaml", *([".dvc/config"] if (SOURCE_ROOT / ".git").exists() else [])]
    missing = [name for name in names if not (SOURCE_ROOT / name).exists()]
    message = f"missing: {', '.join(missing)}" if missing else f"present: {', '.join(names)}"
    return CheckResult(not missing, message, "git checkout -- dvc.yaml .dvc")


def check_data(settings: Settings) -> CheckResult:
    refused = sorted((settings.data / "quarantine" / "refused").glob("*/*.parquet"))
    message = f"refused batches: {len(refused)}" + (f", first {refused[0]}" if refused else "")
    return CheckResult(not refused, message, "correct the source, then: mlops ingest")


def check_model(settings: Settings) -> CheckResult:
    from serving.models.evaluator import Evaluator

    current = document.read_release(settings.release_file)
    if current is None:
        return CheckResult(False, "no version is released", "mlops run")
    Evaluator.load(settings.release_file.parent / current.champion.path, current.champion.digest)
    return CheckResult(True, f"version {current.champion.version} matches its digest")


def check_registry(settings: Settings) -> CheckResult:
    """Check that the registry has the served versions; a deleted one serves from its files."""
    from pipelines.registry import versions

    current = document.read_release(settings.release_file)
    if current is None:
        return CheckResult(True, "no version is released")
    models = [current.champion, *([current.challenger.model] if current.challenger else [])]
    deleted = versions.missing_versions(settings, *[each.version for each in models])
    gone = f"version {', '.join(deleted)} was deleted there, and is served from its files"
    remedy = "mlops rollback --reason TEXT, or mlops promote VERSION"
    return CheckResult(not deleted, gone if deleted else "has the served versions", remedy)


CHECKS = (
    check_python, check_packages, check_parameters, check_disk, check_ports, check_servers,
    check_recipe, check_data, check_model, check_registry,
)  # fmt: skip
