"""Which processes does a run own, and how are they started, watched and cleared?

Every child starts in its own session, is recorded in `var/children.json` and carries a mark in its
environment that its descendants inherit. So the next run finds what a run that was killed left
behind, also where the parent of a process is gone.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import httpx
import psutil

from features import durable_files
from settings import LoopError, Settings

MARK_VARIABLE = "MLOPS_CHILD"
GRACE_SECONDS = 10.0  # seconds from SIGTERM to SIGKILL
# This process's own children by mark: they must be reaped once they have ended.
_started: dict[str, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class ChildRecord:
    """What `var/children.json` holds of a child; `pid` is None until it is known."""

    name: str
    mark: str
    pid: int | None = None
    created: float | None = None
    home: str | None = None  # whose child it is; v0.1 did not say


@dataclass(frozen=True)
class Child:
    """A process that this run started; `log` is where its stdout and stderr go."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid


def start_child(
    settings: Settings, name: str, command: Sequence[str], env: Mapping[str, str]
) -> Child:
    """Starts `command` as the child `name`, with `env` above ours and the settings' environment.

    Raises `LoopError` if the command can't be run.
    """
    log = settings.var / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    record = ChildRecord(name, f"{name}:{uuid.uuid4()}", home=str(settings.home.resolve()))
    own = {"TMPDIR": str(make_temporary_folder(settings, name)), MARK_VARIABLE: record.mark}
    environment = {**os.environ, **settings.environment(), **env, **own}
    others = read_child_records(settings)
    # Before it starts: killed between the two writes, we leave a process that its mark tells.
    _write(settings, [*others, record])
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
    except OSError as error:
        _write(settings, others)
        raise LoopError(f"{name} can't be started: {error}. Command: {command[0]}") from error
    _started[record.mark] = process
    created = psutil.Process(process.pid).create_time()
    _write(settings, [*others, replace(record, pid=process.pid, created=created)])
    return Child(name, process, log)


def make_temporary_folder(settings: Settings, name: str) -> Path:
    """An empty folder for the temporary files of the process `name`, for its user alone.

    The system's is shared: Prefect's runner, for one, has a name there that is the same for all.
    """
    folder = settings.var / "tmp" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    return folder


def wait_until_healthy(child: Child, url: str, timeout: float) -> None:
    """Returns as soon as `url` answers with success; `timeout` in seconds.

    Raises `LoopError` with the end of the child's log if it stops or does not answer in time.
    """
    deadline = time.monotonic() + timeout
    with _client() as client:
        while time.monotonic() < deadline:
            require_alive(child)
            if _answers(client, url):
                return
            time.sleep(0.1)
    raise LoopError(_told(child, f"did not answer at {url} within {timeout:.0f} s"))


def wait_for_server(url: str, timeout: float, what: str) -> None:
    """Returns as soon as `url` of a server that is not ours answers; `LoopError` if it does not."""
    deadline = time.monotonic() + timeout
    with _client() as client:
        while not _answers(client, url):
            if time.monotonic() > deadline:
                raise LoopError(
                    f"{what} did not answer at {url} within {timeout:.0f} s; see its log."
                )
            time.sleep(0.2)


def require_alive(child: Child) -> None:
    """Raises `LoopError` with the end of the child's log if it has stopped."""
    if child.process.poll() is not None:
        raise LoopError(_told(child, f"stopped with exit code {child.process.returncode}"))


def _client() -> httpx.Client:
    # One for all tries: each new one reads every certificate that the machine trusts.
    return httpx.Client(timeout=2.0)


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).is_success
    except httpx.TransportError:
        return False


def stop_children(settings: Settings) -> None:
    """Ends all children with their descendants, the last started first: servers outlive clients."""
    stop_leftover_children(settings)


def stop_leftover_children(settings: Settings) -> list[str]:
    """Ends whatever recorded children are still there, with all descendants; their names.

    To be called by the holder of the run lock. A process is ours only if it bears the mark, or if
    its pid and its time of creation are those on record: a recycled pid is left alone.
    """
    records = read_child_records(settings)
    names = []
    while records:
        if _end(records[-1]):
            names.append(records[-1].name)
        records.pop()
        _write(settings, records)
    return names


def _end(record: ChildRecord) -> bool:
    """SIGTERM, and after `GRACE_SECONDS` SIGKILL; whether there was anything to end."""
    found = _processes(record)
    for number, patience in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, GRACE_SECONDS)):
        # Looked for again: a supervisor may have started others when its workers went.
        rest = _processes(record)
        for process in rest:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and any(_alive(process) for process in rest):
            time.sleep(0.05)
    if stuck := _processes(record):
        pids = ", ".join(str(process.pid) for process in stuck)
        raise LoopError(f"{record.name} can't be killed (pid {pids}); end it by hand.")
    if own := _started.pop(record.mark, None):
        # A zombie may still have threads, and with them its port, until it can be reaped.
        own.wait(GRACE_SECONDS)
    return bool(found)


def _processes(record: ChildRecord) -> list[psutil.Process]:
    """The living processes of the child: itself, its tree, and all that bear its mark."""
    found = {process for process in psutil.process_iter() if _mark(process) == record.mark}
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(record.pid) if record.pid else None
        # Known to a clock tick; where the clock was set between the two readings, the mark tells.
        if process and abs(process.create_time() - (record.created or 0)) < 0.05:
            found |= {process, *process.children(recursive=True)}
    return [process for process in found if process.pid != os.getpid() and _alive(process)]


def _mark(process: psutil.Process) -> str | None:
    try:
        mark: str | None = process.environ().get(MARK_VARIABLE)
        return mark
    except (psutil.Error, OSError):
        return None  # another user's, or gone


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _told(child: Child, what: str) -> str:
    lines = child.log.read_text(errors="replace").splitlines()[-20:]
    return "\n".join([f"{child.name} {what}. Its log is {child.log}, and ends with:", *lines])


def read_child_records(settings: Settings) -> list[ChildRecord]:
    """The children on record, the first started first; a copied home has none of the original's."""
    found = [
        ChildRecord(**entry)
        for entry in durable_files.read_json(settings.var / "children.json") or []
    ]
    return [each for each in found if each.home in (None, str(settings.home.resolve()))]


def _write(settings: Settings, records: Sequence[ChildRecord]) -> None:
    durable_files.write_json(settings.var / "children.json", [asdict(record) for record in records])
