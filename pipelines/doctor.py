"""What is missing or misconfigured, and the command that mends it."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from rich.console import Console

from pipelines import exclusive, stage
from pipelines.workspace import SOURCE
from serving import release
from settings import LoopError, Settings

FREE_GB = 3


@dataclass(frozen=True)
class Finding:
    """One thing looked at: whether it is well, and if not what mends it."""

    subject: str
    well: bool
    told: str
    mend: str = ""


def report(settings: Settings) -> bool:
    """Prints every finding; whether all is well. A check that could not run counts as not well."""
    console = Console(highlight=False, soft_wrap=True)
    findings = [_checked(check, settings) for check in CHECKS]
    for each in findings:
        mark = "[green]ok  [/green]" if each.well else "[red]fail[/red]"
        console.print(f"{mark}  {each.subject}: {each.told}")
        if not each.well and each.mend:
            console.print(f"      mend it with: {each.mend}")
    return all(each.well for each in findings)


def _checked(check: Callable[[Settings], Finding], settings: Settings) -> Finding:
    try:
        return check(settings)
    except Exception as error:  # whatever stopped it: a check that could not run has failed
        subject = check.__name__.replace("_", " ")
        return Finding(subject, False, f"could not be checked: {error}", "see the message")


def python(settings: Settings) -> Finding:
    found = sys.version_info[:2]
    told = f"Python {found[0]}.{found[1]}"
    return Finding("python", found == (3, 11), told, "install Python 3.11")


def packages(settings: Settings) -> Finding:
    lock = (SOURCE / "requirements.lock").read_text()
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)(?: ; (.+?))? \\$", lock, flags=re.MULTILINE)
    from packaging.markers import Marker

    wrong = []
    for name, pinned, marker in pins:
        if marker and not Marker(marker).evaluate():
            continue
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "missing"
        if found != pinned:
            wrong.append(f"{name} is {found}, not {pinned}")
    told = "; ".join(wrong[:5]) or f"all {len(pins)} pins of requirements.lock are installed"
    return Finding("packages", not wrong, told, "make install")


def parameters(settings: Settings) -> Finding:
    stage.moment(settings.params().get("as_of"))
    return Finding("parameters", True, str(settings.params_file))


def disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(settings.home).free / 1e9
    return Finding("disk", free >= FREE_GB, f"{free:.0f} GB free", "make clean, or free some room")


def ports(settings: Settings) -> Finding:
    told = []
    for port, what, name in (
        (settings.prefect_port, "Prefect's server", "MLOPS_PREFECT_PORT"),
        (settings.service_port, "The service", "MLOPS_SERVICE_PORT"),
    ):
        try:
            exclusive.require_port_free(port, what, name)
        except LoopError as error:
            told.append(str(error))
    ports = f"{settings.prefect_port}, {settings.service_port}"
    mend = "stop what uses it, or set the variable to another port"
    return Finding("ports", not told, " ".join(told) or f"{ports} are free", mend)


def recipe(settings: Settings) -> Finding:
    found = all((SOURCE / name).exists() for name in ("dvc.yaml", ".dvc/config"))
    told = "dvc.yaml and .dvc/config are here" if found else "dvc.yaml or .dvc/config is missing"
    return Finding("recipe", found, told, "git checkout -- dvc.yaml .dvc")


def data(settings: Settings) -> Finding:
    refused = sorted((settings.data / "quarantine" / "refused").glob("*/*.parquet"))
    told = f"{len(refused)} refused batches" + (f", first {refused[0]}" if refused else "")
    return Finding("data", not refused, told, "mend the source, then: mlops ingest")


def model(settings: Settings) -> Finding:
    from pathlib import Path

    from serving.evaluator import Evaluator

    current = release.read(settings.release_file)
    if current is None:
        return Finding("model", False, "no version is released", "mlops run")
    Evaluator.load(Path(current.champion.path), current.champion.digest)
    return Finding("model", True, f"version {current.champion.version} is whole")


CHECKS = (python, packages, parameters, disk, ports, recipe, data, model)
