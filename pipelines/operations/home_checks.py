"""The checks of `mlops doctor` on the home itself: its place, its owner, its state, its files."""

import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import psutil

from features import durable_files, publication_record
from pipelines.runtime import embedded_databases, upgrade
from pipelines.training.workspace import SOURCE_ROOT
from settings import Settings

MIN_FREE_GB = 3
MAX_PATH = 400  # bytes; SQLite opens no path of more than 504, and DVC's is 100 below the home
# Files that are replaced atomically: a half-written one was copied, edited or is on a broken disk.
STATE_FILES = (
    "alerts/sent.json", "format.json",
    *(f"usecases/*/{name}" for name in (
        "children.json", "models/*/card.json", "monitoring/*.json", "training/*/outcome.json",
        "world.json",
    )),
)  # fmt: skip


class CheckResult(NamedTuple):
    """The result of one check; `code` names what a failed one found, with its remedy."""

    ok: bool
    message: str
    code: str = ""


def check_path(settings: Settings) -> CheckResult:
    """Check the length of the home's path; `load_settings` has refused patterns in it."""
    length = len(os.fsencode(settings.home.resolve()))
    message = f"{length} bytes, at most {MAX_PATH} are usable: {settings.home.resolve()}"
    return CheckResult(length <= MAX_PATH, message, "path_unusable")


def check_proxy(settings: Settings) -> CheckResult:
    """Check that a proxy in the user's environment lets requests to this machine pass.

    The project's own commands never use it for them; the user's curl and browser do.
    """
    # As the process was started: by now the settings have added their exceptions.
    given = {name.lower(): text for name, text in psutil.Process().environ().items() if text}
    proxies = sorted({"http_proxy", "https_proxy", "all_proxy"}.intersection(given))
    exceptions = {each.strip() for each in given.get("no_proxy", "").split(",")}
    caught = [host for host in ("127.0.0.1", "localhost") if not {host, "*"} & exceptions]
    if not proxies or not caught:
        return CheckResult(True, "no proxy gets requests to this machine")
    message = f"{', '.join(proxies)}: {given[proxies[0]]} gets requests to {', '.join(caught)}"
    return CheckResult(False, message, "proxy_catches_loopback")


def check_disk(settings: Settings) -> CheckResult:
    """Check free space, and that links of the folders lead to a disk that is there."""
    free, notes = {}, []
    for folder in _folders(settings):
        if folder.is_symlink() and not folder.exists():
            message = f"{folder} leads to {folder.readlink()}, which is missing"
            return CheckResult(False, message, "disk_missing")
        if folder.exists():
            free[folder] = shutil.disk_usage(folder).free / 1e9
            if folder.stat().st_dev != settings.home.stat().st_dev:
                notes.append(f"{folder} is on another disk: copies take the place of links")
    least = min(free, key=lambda folder: free[folder])
    message = "; ".join([f"{free[least]:.0f} GB free at {least}", *notes])
    return CheckResult(free[least] >= MIN_FREE_GB, message, "disk_full")


def _folders(settings: Settings) -> list[Path]:
    """The folders with data and state: each may be a link to another disk."""
    data, state = settings.data, settings.state
    return [
        settings.home.resolve(), data.parent, data, settings.var, state.parent, state,
        settings.predictions,
    ]  # fmt: skip


def check_owner(settings: Settings) -> CheckResult:
    """Check that this user may write everywhere: a command by `sudo` leaves files of root."""
    user, foreign = os.geteuid(), dict[str, None]()
    for folder in _folders(settings)[1:]:
        for parent, names, files in os.walk(folder):
            for path in (Path(parent, name) for name in ("", *names, *files)):
                owner = path.lstat().st_uid
                # Root may write everywhere, and what it writes here is closed to the owner.
                if owner != user and (user == 0 or not os.access(path, os.W_OK)):
                    foreign[f"{path} (user {owner})"] = None
    first = next(iter(foreign), "")
    found = f"{len(foreign)} belong to another user, first {first}" if foreign else "yours"
    return CheckResult(not foreign, found, "owner_other")


def check_checkout(settings: Settings) -> CheckResult:
    """Check that the code is that of the home, if it is a checkout, and that paths follow it."""
    home = settings.home.resolve()
    if (home / "pipelines" / "__init__.py").exists() and home != SOURCE_ROOT:
        message = f"the code of {SOURCE_ROOT} runs, though {home} has its own"
        return CheckResult(False, message, "code_elsewhere")
    moved = sorted(embedded_databases.moved_artefact_roots(settings))
    message = f"MLflow's artefacts are stored as {moved[0]}" if moved else "at its place"
    return CheckResult(not moved, message, "home_moved")


def check_state(settings: Settings) -> CheckResult:
    """Check the format of the state. Raises `UserError` if a newer version wrote it."""
    stored = upgrade.stored_format(settings)
    older = [] if stored == upgrade.STATE_FORMAT else [f"the files have format {stored}"]
    for database, tool, below in embedded_databases.existing_databases(settings):
        if revision := embedded_databases.outdated_revision(database, tool, below):
            older.append(f"the database of {tool} has schema {revision}")
    return CheckResult(not older, "; ".join(older) or f"format {stored}", "state_older")


def check_files(settings: Settings) -> CheckResult:
    """Check the state's small files, and for a lock that a killed DVC left in the checkout."""
    for pattern in STATE_FILES:
        for file in sorted(settings.var.glob(pattern)):
            if durable_files.read_json(file) is None:
                return CheckResult(False, f"{file} is half-written", "file_damaged")
    lock = settings.home / ".dvc" / "tmp" / "rwlock"
    if lock.exists() and not _is_held(lock):
        return CheckResult(False, f"{lock} belongs to no process", "lock_left")
    return CheckResult(True, "whole")


def _is_held(lock: Path) -> bool:
    """Whether a living process is named in DVC's lock; a half-written lock names none."""
    holders = re.findall(r'"pid": (\d+)', lock.read_text())
    return not lock.read_text().strip(" {}\n") or any(
        psutil.pid_exists(int(pid)) for pid in holders
    )


def check_store(settings: Settings) -> CheckResult:
    """Check that the online store is published, once there are features."""
    until = publication_record.published_until(settings)
    if until is not None:
        return CheckResult(True, f"published up to {until:%Y-%m-%d %H:%M} UTC")
    built = any((settings.data / "features").glob("*/*.parquet"))
    message = "holds no complete publication" if built else "no features are built"
    return CheckResult(not built, message, "features_lost")
