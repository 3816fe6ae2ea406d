"""Start and end the child processes of a run, also those of a killed run.

Each child has its own session, an entry in `children.json` of the use case's state, and a mark
in its environment that its descendants inherit. The mark identifies the processes of a killed run,
even orphans.
"""

import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import psutil

from features import durable_files
from pipelines.runtime import interrupts
from pipelines.runtime.waiting import wait_until
from settings import LoopError, Settings

MARK_VARIABLE = "MLOPS_CHILD"
GRACE_SECONDS = 10.0  # from SIGTERM to SIGKILL
# The children of this process by mark: it must reap them when they end.
_started: dict[str, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class ChildRecord:
    """An entry of the use case's `children.json`; `pid` is None until the child has started."""

    name: str
    mark: str
    pid: int | None = None
    created: float | None = None
    home: str | None = None  # the home that started it; v0.1 wrote none


@dataclass(frozen=True)
class Child:
    """A process that this run started; `log` holds its stdout and stderr."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid


def start_child(
    settings: Settings, name: str, command: Sequence[str], env: Mapping[str, str]
) -> Child:
    """Start `command` as the child `name`; `env` overrides our environment and the settings'.

    Raises `LoopError` if the command can't be started.
    """
    log = settings.state / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    record = ChildRecord(name, f"{name}:{uuid.uuid4()}", home=str(settings.home.resolve()))
    own = {
        "TMPDIR": str(make_temporary_folder(settings, name)), MARK_VARIABLE: record.mark,
        "PYTHONSAFEPATH": "1",  # a file of the working folder does not replace a library
    }  # fmt: skip
    environment = {**os.environ, **settings.environment(), **env, **own}
    others = read_child_records(settings)
    # Write the mark first: if we are killed before the second write, it identifies the process.
    _write(settings, [*others, record])
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
    except OSError as error:
        _write(settings, others)
        raise LoopError(
            f"{name} can't be started: {error}. Check the command {command[0]}."
        ) from error
    _started[record.mark] = process
    created = psutil.Process(process.pid).create_time()
    _write(settings, [*others, replace(record, pid=process.pid, created=created)])
    return Child(name, process, log)


def make_temporary_folder(settings: Settings, name: str) -> Path:
    """Return an empty folder for the temporary files of the process `name`, private to its user.

    The system's temporary folder is shared, and Prefect's runner uses a fixed name in it.
    """
    folder = settings.state / "tmp" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    return folder


def stop_children(settings: Settings) -> list[str]:
    """End the recorded children that still run, with all descendants; return their names.

    Also ends those of a killed run. The newest ends first, so that servers outlive their clients.
    The caller holds the run lock. A process is ours if it has the mark, or if its pid and its
    creation time match the record: a recycled pid is not touched.
    """
    records = read_child_records(settings)
    names = []
    with interrupts.ignored():  # a second Ctrl-C would leave the rest
        while records:
            if _end(records[-1]):
                names.append(records[-1].name)
            records.pop()
            _write(settings, records)
    return names


def end_descendants() -> None:
    """End all processes below this one: SIGTERM, then SIGKILL after `GRACE_SECONDS`."""
    with interrupts.ignored():
        for number in (signal.SIGTERM, signal.SIGKILL):
            _signal_all(psutil.Process().children(recursive=True), number)


def _end(record: ChildRecord) -> bool:
    """Send SIGTERM, then SIGKILL after `GRACE_SECONDS`; return whether a process was running."""
    was_running = bool(_processes(record))
    for number in (signal.SIGTERM, signal.SIGKILL):
        # Search again: a supervisor may have replaced its ended workers.
        _signal_all(_processes(record), number)
    if stuck := _processes(record):
        pids = ", ".join(str(process.pid) for process in stuck)
        raise LoopError(f"{record.name} can't be killed (pid {pids}). End it by hand.")
    if own := _started.pop(record.mark, None):
        # A zombie can keep threads and their port until it is reaped.
        own.wait(GRACE_SECONDS)
    return was_running


def _signal_all(processes: Sequence[psutil.Process], number: int) -> None:
    """Send the signal to each process; wait up to `GRACE_SECONDS` until all have ended."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    wait_until(partial(_all_ended, processes), GRACE_SECONDS, 0.05)


def _processes(record: ChildRecord) -> list[psutil.Process]:
    """Return the live processes of the child: itself, its descendants, and all with its mark."""
    processes = {process for process in psutil.process_iter() if _mark(process) == record.mark}
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(record.pid) if record.pid else None
        # Exact to a clock tick. If the clock was set meanwhile, the mark identifies the process.
        if process and abs(process.create_time() - (record.created or 0)) < 0.05:
            processes |= {process, *process.children(recursive=True)}
    return [process for process in processes if process.pid != os.getpid() and _alive(process)]


def _mark(process: psutil.Process) -> str | None:
    try:
        mark: str | None = process.environ().get(MARK_VARIABLE)
        return mark
    except (psutil.Error, OSError):
        return None  # another user's process, or an ended one


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _all_ended(processes: Sequence[psutil.Process]) -> bool:
    return not any(map(_alive, processes))


def read_child_records(settings: Settings) -> list[ChildRecord]:
    """Return the records of this home's children, oldest first, without those of a copied home."""
    records = [
        ChildRecord(**entry)
        for entry in durable_files.read_json(settings.state / "children.json") or []
    ]
    return [each for each in records if each.home in (None, str(settings.home.resolve()))]


def _write(settings: Settings, records: Sequence[ChildRecord]) -> None:
    durable_files.write_json(
        settings.state / "children.json", [asdict(record) for record in records]
    )
