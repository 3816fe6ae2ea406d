"""Run the stages of dvc.yaml in a workspace, push their outputs and restore recorded ones."""

import io
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

from features import durable_files, locks
from pipelines.runtime import run_command
from settings import LoopError, Settings, UserError


def recipe_stages(settings: Settings, path: Path) -> dict[str, list[str]]:
    """Return the use case's stages in DVC's order: each after those that it depends on.

    Stages whose outputs only grow have little to do in a workspace, and a start of DVC would cost
    more than their work. So they are the values of the stage that is run together with them.
    """
    stages: dict[str, list[str]] = {}
    before: list[str] = []
    import networkx as nx
    from dvc.repo import Repo

    with warnings.catch_warnings(), Repo(str(path)) as repo:
        # DVC's prefix trees use a deprecated interface of pygtrie.
        warnings.filterwarnings("ignore", "_NoneStep.value", DeprecationWarning)
        for stage in nx.dfs_postorder_nodes(repo.index.graph):
            if not stage.name.endswith(f"@{settings.usecase}"):
                continue
            if all(out.persist for out in stage.outs):
                before.append(str(stage.name))
            else:
                stages[str(stage.name)], before = before, []
    return stages


def run_stage(
    settings: Settings, path: Path, stage: str, before: Sequence[str] = ()
) -> dict[str, Any]:
    """Run a stage, after the stages `before`, with DVC, which skips what has not changed.

    Return whether any of them ran. Raise `LoopError` with the stage's own errors if it failed.
    """
    result = _dvc(settings, path, "repro", "--single-item", *before, stage)
    return {"stage": stage, "ran": "Running stage" in result, "log": str(path / "dvc.log")}


def push_outputs(settings: Settings, path: Path) -> dict[str, str]:
    """Push the outputs of the run and return their md5s by path.

    An output can be restored only after a push, so record an md5 only after this call.
    """
    _dvc(settings, path, "push")
    locked = yaml.safe_load((path / "dvc.lock").read_text())["stages"]
    return {out["path"]: out["md5"] for stage in locked.values() for out in stage.get("outs", [])}


def restore_output(settings: Settings, md5: str, target: Path) -> None:
    """Write the recorded output with this md5 (`.dir` at the end for a folder) to `target`.

    Raise `UserError` if `target` exists, or if the output is missing or damaged in the remote.
    """
    target = target.resolve()
    if target.exists():
        raise UserError(f"{target} exists already. Name a path that does not exist.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        repo = Path(folder)
        init_dvc(settings, repo)
        outs = {"outs": [{"md5": md5, "hash": "md5", "path": "restored"}]}
        durable_files.write_file(repo / "restored.dvc", yaml.safe_dump(outs))
        try:
            _dvc(settings, repo, "pull", "restored.dvc")
        except LoopError as error:
            reason = str(error).rpartition("\n")[0]  # its last line names a log in this folder
            raise UserError(
                f"No data with the md5 {md5} in the DVC remote, or damaged ones: {reason}"
            ) from error
        (repo / "restored").rename(target)


def init_dvc(settings: Settings, path: Path) -> None:
    """Write DVC's configuration into `path`: no git, the project's cache and remote."""
    from configobj import ConfigObj  # DVC's own reader: a path may hold commas, # and quotes

    folder, shared = (path / ".dvc").resolve(), settings.var.resolve() / "dvc"
    # Relative to the folder, as DVC expects, so that the home can be moved.
    cache, remote = (os.path.relpath(shared / name, folder) for name in ("cache", "remote"))
    config = {
        "core": {"no_scm": True, "analytics": False, "remote": "local"},
        "cache": {"dir": cache},
        # Otherwise a file that was damaged in the remote is restored under its recorded md5.
        'remote "local"': {"url": settings.dvc_remote or remote, "verify": True},
    }
    content = io.BytesIO()
    ConfigObj(config, encoding="utf-8").write(content)
    durable_files.write_file(folder / "config", content.getvalue())
    durable_files.write_file(path / ".dvcignore", f"*{durable_files.UNFINISHED}\n")


def _dvc(settings: Settings, path: Path, *command: str) -> str:
    """Return the output of `dvc COMMAND` in the workspace; one at a time, as DVC requires."""
    environment = {
        **os.environ, **settings.environment(), "MLOPS_WORKSPACE": str(path),
        "PYTHONSAFEPATH": "",  # a stage runs the code of its workspace, its working folder
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }  # fmt: skip
    with locks.hold_lock(path / ".lock"):
        _clear_interrupted(path)
        run = run_command.run_to_end(
            [sys.executable, "-m", "dvc", *command],
            cwd=path, env=environment, capture_output=True,
        )  # fmt: skip
        with (path / "dvc.log").open("a") as log:
            log.write(f"$ dvc {' '.join(command)}\n{run.stdout}{run.stderr}\n")
    if run.returncode:
        errors = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
        raise LoopError(
            f"`dvc {' '.join(command)}` failed: "
            + ("\n".join(errors) or run.stderr[-2000:] or run.stdout[-2000:])
            + f"\nThe full output is in {path / 'dvc.log'}."
        )
    return run.stdout


def _clear_interrupted(path: Path) -> None:
    """Remove the files that a killed DVC left broken, unless a process still works there.

    DVC writes both files in place: its own lock, whose pids are stale, and `dvc.lock`, which it
    rebuilds from the run cache. The caller must hold the workspace's lock.
    """
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    if any(_works_in(path, process) for process in psutil.process_iter()):
        return  # a DVC process that outlived its parent
    (path / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)
    lockfile = path / "dvc.lock"
    try:
        if lockfile.exists():
            COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(lockfile.read_text()))
    except (yaml.YAMLError, UnicodeDecodeError, Invalid):
        lockfile.unlink()


def _works_in(path: Path, process: psutil.Process) -> bool:
    try:
        return process.pid != os.getpid() and process.cwd() == os.path.realpath(path)
    except (psutil.Error, OSError):
        return False  # ended, or owned by another user
