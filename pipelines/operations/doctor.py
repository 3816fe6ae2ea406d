"""What is missing or misconfigured, and the command that mends it."""

from __future__ import annotations

import platform
import re
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from rich.console import Console

from pipelines.runtime import exclusive, stage_command
from pipelines.training.workspace import SOURCE_ROOT
from serving.release import document
from settings import LoopError, Settings

MIN_FREE_GB = 3


@dataclass(frozen=True)
class CheckResult:
    """One thing looked at: whether it is well, and if not what mends it."""

    subject: str
    ok: bool
    told: str
    remedy: str = ""


def print_checks(settings: Settings) -> bool:
    """Prints every finding; whether all is well. A check that could not run counts as not well."""
    console = Console(highlight=False, soft_wrap=True)
    findings = [_checked(check, settings) for check in CHECKS]
    for each in findings:
        mark = "[green]ok  [/green]" if each.ok else "[red]fail[/red]"
        console.print(f"{mark}  {each.subject}: {each.told}")
        if not each.ok and each.remedy:
            console.print(f"      mend it with: {each.remedy}")
    return all(each.ok for each in findings)


def _checked(check: Callable[[Settings], CheckResult], settings: Settings) -> CheckResult:
    try:
        return check(settings)
    except Exception as error:  # whatever stopped it: a check that could not run has failed
        subject = check.__name__.replace("_", " ")
        return CheckResult(subject, False, f"could not be checked: {error}", "see the message")


def python(settings: Settings) -> CheckResult:
    from packaging.specifiers import SpecifierSet

    wanted, found = _project()["requires-python"], platform.python_version()
    well = SpecifierSet(wanted).contains(found)
    return CheckResult("python", well, f"Python {found}", f"install a Python {wanted}")


def packages(settings: Settings) -> CheckResult:
    """In an image the tools of developers are missing, and not missed."""
    lock = (SOURCE_ROOT / "requirements.lock").read_text()
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)(?: ; (.+?))? \\$", lock, flags=re.MULTILINE)
    from packaging.markers import Marker

    needed = _needed()
    wrong, right = [], 0
    for name, pinned, marker in pins:
        if marker and not Marker(marker).evaluate():
            continue
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "missing"
        if found == pinned:
            right += 1
        elif found != "missing" or name in needed:
            wrong.append(f"{name} is {found}, not {pinned}")
    told = "; ".join(wrong[:5]) or f"{right} are installed as requirements.lock pins them"
    return CheckResult("packages", not wrong, told, "make install")


def _project() -> dict[str, Any]:
    with (SOURCE_ROOT / "pyproject.toml").open("rb") as file:
        found: dict[str, Any] = tomllib.load(file)["project"]
    return found


def _needed() -> set[str]:
    """What we need to run, by name, with all that it needs itself."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    open_names = [Requirement(each) for each in _project()["dependencies"]]
    found: set[str] = set()
    while open_names:
        wanted = open_names.pop()
        name = canonicalize_name(wanted.name)
        if name in found:
            continue
        found.add(name)
        try:
            further = [Requirement(each) for each in requires(name) or []]
        except PackageNotFoundError:
            continue  # it is told as missing itself
        extras = [{"extra": extra} for extra in wanted.extras] or [{"extra": ""}]
        open_names += [
            each for each in further
            if each.marker is None or any(each.marker.evaluate(extra) for extra in extras)
        ]  # fmt: skip
    return found


def parameters(settings: Settings) -> CheckResult:
    stage_command.parse_time(settings.params().get("as_of"))
    return CheckResult("parameters", True, str(settings.params_file))


def disk(settings: Settings) -> CheckResult:
    free = shutil.disk_usage(settings.home).free / 1e9
    return CheckResult(
        "disk", free >= MIN_FREE_GB, f"{free:.0f} GB free", "make clean, or free some room"
    )


def ports(settings: Settings) -> CheckResult:
    """Of the servers that we would start ourselves."""
    told, ports = [], []
    for ours, port, what, name in (
        (settings.owns_prefect, settings.prefect_port, "Prefect's server", "MLOPS_PREFECT_PORT"),
        (settings.owns_service, settings.service_port, "The service", "MLOPS_SERVICE_PORT"),
    ):
        if not ours:
            continue
        ports.append(str(port))
        try:
            exclusive.require_port_free(port, what, name)
        except LoopError as error:
            told.append(str(error))
    free = f"{', '.join(ports)} are free" if ports else "none is needed, all servers are named"
    mend = "stop what uses it, or set the variable to another port"
    return CheckResult("ports", not told, " ".join(told) or free, mend)


def servers(settings: Settings) -> CheckResult:
    """Those that the settings name, each by work that it does."""
    from pipelines.operations import probes

    named, away = probes.configured_probes(settings), []
    for part, probe in named.items():
        try:
            probe()
        except Exception as error:  # whatever it was, the part did not do its work
            away.append(f"{part}: {error}")
    told = "; ".join(away) or (f"{', '.join(named)} answer" if named else "all are our own")
    return CheckResult("servers", not away, told, "see PartDown in docs/runbooks.md")


def recipe(settings: Settings) -> CheckResult:
    """A checkout has DVC's configuration, too; a training in an image makes its own."""
    names = ["dvc.yaml", *([".dvc/config"] if (SOURCE_ROOT / ".git").exists() else [])]
    missing = [name for name in names if not (SOURCE_ROOT / name).exists()]
    told = f"{', '.join(missing)} missing" if missing else f"{' and '.join(names)} here"
    return CheckResult("recipe", not missing, told, "git checkout -- dvc.yaml .dvc")


def data(settings: Settings) -> CheckResult:
    refused = sorted((settings.data / "quarantine" / "refused").glob("*/*.parquet"))
    told = f"{len(refused)} refused batches" + (f", first {refused[0]}" if refused else "")
    return CheckResult("data", not refused, told, "mend the source, then: mlops ingest")


def model(settings: Settings) -> CheckResult:
    from serving.models.evaluator import Evaluator

    current = document.read_release(settings.release_file)
    if current is None:
        return CheckResult("model", False, "no version is released", "mlops run")
    Evaluator.load(settings.release_file.parent / current.champion.path, current.champion.digest)
    return CheckResult("model", True, f"version {current.champion.version} is whole")


def registry(settings: Settings) -> CheckResult:
    """The versions that are served are in the registry; without it they serve from their files."""
    from pipelines.registry import versions

    current = document.read_release(settings.release_file)
    if current is None:
        return CheckResult("registry", True, "no version is released")
    models = [current.champion, *([current.challenger.model] if current.challenger else [])]
    gone = versions.missing_versions(settings, *[each.version for each in models])
    told = f"version {', '.join(gone)} was deleted there, and is served from its files"
    return CheckResult(
        "registry", not gone, told if gone else "has the versions that are served",
        "mlops rollback --reason TEXT, or mlops promote VERSION",
    )  # fmt: skip


CHECKS = (python, packages, parameters, disk, ports, servers, recipe, data, model, registry)
