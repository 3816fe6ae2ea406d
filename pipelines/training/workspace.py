"""Where a training run works: a frozen copy of code, data and parameters, with DVC but no git.

The run sees what stood when it was opened, whatever arrives meanwhile, and dirties no checkout.
The cache and the remote are the project's, so what the run made can be had back from its md5.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psutil
import yaml

from features import data_lock, durable_files, locks, partitions
from features.build_manifest import MANIFEST_FILE
from settings import LoopError, Settings, UserError

CODE_FOLDERS = ("pipelines", "features", "serving", "monitoring", "usecase")
CODE_FILES = ("settings.py", "dvc.yaml", "requirements.lock")
GROWING_LAYERS = ("raw", "validated", "quarantine", "features")
PARAMS_FILE = "usecase/params.yaml"
SOURCE_ROOT = Path(__file__).resolve().parents[2]


def training_id(settings: Settings, as_of: datetime) -> str:
    """The name of the run that trains as of `as_of` with this code and these parameters."""
    digest = hashlib.sha256(settings.params_file.read_bytes())
    for path in _code_files():
        digest.update(path.relative_to(SOURCE_ROOT).as_posix().encode() + path.read_bytes())
    return f"{as_of.astimezone(UTC):%Y%m%dT%H%M}-{digest.hexdigest()[:8]}"


def open_workspace(settings: Settings, as_of: datetime) -> Path:
    """The workspace of the training as of `as_of`: made whole, or found as it was left.

    The champion of the moment, if there is one, is copied in, to be compared against.
    """
    path = settings.var / "training" / training_id(settings, as_of)
    if path.exists():
        _init_dvc(settings, path)  # anew: what was begun may have been moved since
        return path
    require_newer_than_champion(settings, as_of)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=path.parent))
    copy_code(draft)
    with data_lock.hold_data_lock(settings):  # partitions, tables and their notes of one moment
        _link_data(settings, draft, as_of)
    champion = _copy_champion(settings, draft)
    _write_params(settings, draft, as_of, champion)
    _init_dvc(settings, draft)
    durable_files.publish_folder(draft, path)
    return path


def require_newer_than_champion(settings: Settings, as_of: datetime) -> None:
    """Raises `UserError` if the champion knows all that is known at `as_of`.

    There would be no case on which a challenger and it could be compared fairly.
    """
    from serving.release.document import read_release

    release = read_release(settings.release_file)
    if release is None:
        return
    card = settings.var / "models" / release.champion.version / "card.json"
    seen = datetime.fromisoformat(json.loads(card.read_text())["data_until"])
    if as_of <= seen:
        raise UserError(
            f"The champion, version {release.champion.version}, knows all data up to "
            f"{seen:%Y-%m-%d %H:%M} UTC: train as of a later day (mlops train --as-of DAY)."
        )


def recipe_stages(path: Path) -> list[str]:
    """The recipe's stages, each after those that it depends on, as DVC has them."""
    import networkx as nx
    from dvc.repo import Repo

    with warnings.catch_warnings(), Repo(str(path)) as repo:
        # Its prefix trees use an interface of pygtrie that is retired; nobody who trains minds.
        warnings.filterwarnings("ignore", "_NoneStep.value", DeprecationWarning)
        return [str(stage.name) for stage in nx.dfs_postorder_nodes(repo.index.graph)]


def run_stage(settings: Settings, path: Path, stage: str) -> dict[str, Any]:
    """Runs one stage with DVC, which skips it if nothing that it depends on has changed.

    Returns whether it ran. Raises `LoopError` with the stage's own words if it failed.
    """
    result = _dvc(settings, path, "repro", "--single-item", stage)
    return {"stage": stage, "ran": "Running stage" in result, "log": str(path / "dvc.log")}


def push_outputs(settings: Settings, path: Path) -> dict[str, str]:
    """Pushes what the run made and returns the md5 of each output, by its path.

    What is not pushed can't be had back, so an md5 is worth recording only after this.
    """
    _dvc(settings, path, "push")
    locked = yaml.safe_load((path / "dvc.lock").read_text())["stages"]
    return {out["path"]: out["md5"] for stage in locked.values() for out in stage.get("outs", [])}


def restore_output(settings: Settings, md5: str, target: Path) -> None:
    """Writes the recorded output with this md5 (a folder's ends in `.dir`) to `target`.

    Raises `UserError` if the remote does not hold it.
    """
    target = target.resolve()
    if target.exists():
        raise UserError(f"{target} exists already; name a path that does not.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        bench = Path(folder)
        _init_dvc(settings, bench)
        outs = {"outs": [{"md5": md5, "hash": "md5", "path": "restored"}]}
        durable_files.write_file(bench / "restored.dvc", yaml.safe_dump(outs))
        try:
            _dvc(settings, bench, "pull", "restored.dvc")
        except LoopError as error:
            raise UserError(f"No data with the md5 {md5} in the DVC remote: {error}") from error
        (bench / "restored").rename(target)


def _dvc(settings: Settings, path: Path, *command: str) -> str:
    """What `dvc COMMAND` says in the workspace; one at a time, for DVC refuses a second."""
    with locks.hold_lock(path / ".lock"):
        _clear_interrupted(path)
        return _run_dvc(settings, path, *command)


def _clear_interrupted(path: Path) -> None:
    """Removes what a DVC that was killed left in the workspace, unless somebody works in it yet.

    DVC writes both files in place: its own lock, whose pids mean nothing then, and `dvc.lock`,
    which is made again from the run cache. To be called by the holder of the workspace's lock.
    """
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    if any(_works_in(path, process) for process in psutil.process_iter()):
        return  # a DVC that has outlived who started it
    (path / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)
    made = path / "dvc.lock"
    try:
        if made.exists():
            COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(made.read_text()))
    except (yaml.YAMLError, UnicodeDecodeError, Invalid):
        made.unlink()


def _works_in(path: Path, process: psutil.Process) -> bool:
    try:
        return process.pid != os.getpid() and process.cwd() == os.path.realpath(path)
    except (psutil.Error, OSError):
        return False  # another user's, or gone


def _run_dvc(settings: Settings, path: Path, *command: str) -> str:
    environment = {
        **os.environ, **settings.environment(), "MLOPS_WORKSPACE": str(path),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-m", "dvc", *command],
        cwd=path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    with (path / "dvc.log").open("a") as log:
        log.write(f"$ dvc {' '.join(command)}\n{run.stdout}{run.stderr}\n")
    if run.returncode:
        told = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
        raise LoopError(
            f"`dvc {' '.join(command)}` failed: "
            + ("\n".join(told) or run.stderr[-2000:] or run.stdout[-2000:])
            + f"\nIts whole output is in {path / 'dvc.log'}."
        )
    return run.stdout


def code_digest(root: Path) -> str:
    """A digest of the code below `root`, without the parameters, which each training has its own.

    The same for a checkout and for the frozen copy in a workspace.
    """
    digest = hashlib.sha256()
    for path in _code_files(root):
        name = path.relative_to(root).as_posix()
        if name != PARAMS_FILE:
            digest.update(name.encode() + path.read_bytes())
    return digest.hexdigest()


def _code_files(root: Path = SOURCE_ROOT) -> list[Path]:
    files = [path for name in CODE_FOLDERS for path in (root / name).rglob("*") if path.is_file()]
    kept = [path for path in files if path.suffix in {".py", ".yaml", ".md"}]
    return sorted(kept) + [root / name for name in CODE_FILES]


def copy_code(draft: Path, root: Path = SOURCE_ROOT) -> None:
    """The code below `root`, copied to `draft`."""
    for path in _code_files(root):
        copy = draft / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _link_data(settings: Settings, draft: Path, as_of: datetime) -> None:
    # Partitions are replaced and never written to, so a hard link freezes them at no cost.
    until = as_of.astimezone(UTC).date()
    for layer in GROWING_LAYERS:
        (draft / "data" / layer).mkdir(parents=True, exist_ok=True)
        for path in partitions.files_below(settings.data / layer):
            if path.name in {partitions.RECIPE, MANIFEST_FILE} or (
                path.suffix == partitions.SUFFIX and date.fromisoformat(path.stem) < until
            ):
                copy = draft / path.relative_to(settings.root)
                copy.parent.mkdir(parents=True, exist_ok=True)
                durable_files.link_or_copy(path, copy)


def _copy_champion(settings: Settings, draft: Path) -> dict[str, Any] | None:
    from serving.release.document import read_release

    folder = draft / "data" / "champion"
    folder.mkdir(parents=True)
    (folder / ".gitkeep").touch()
    release = read_release(settings.release_file)
    if release is None:
        return None
    served = settings.var / "models" / release.champion.version
    shutil.copytree(served / "served", folder / "served")
    card: dict[str, Any] = json.loads((served / "card.json").read_text())
    durable_files.write_json(folder / "card.json", card)
    return card


def _write_params(
    settings: Settings, draft: Path, as_of: datetime, champion: dict[str, Any] | None
) -> None:
    params = settings.params()
    params["as_of"] = as_of.isoformat()
    if champion:
        # The period that the champion has not seen is split: the challenger trains through its
        # first part, and both are scored on the rest.
        seen = datetime.fromisoformat(champion["data_until"])
        params["training"]["holdout_start"] = (seen + (as_of - seen) / 2).isoformat()
    durable_files.write_file(draft / PARAMS_FILE, yaml.safe_dump(params, sort_keys=False))


def _init_dvc(settings: Settings, draft: Path) -> None:
    from configobj import ConfigObj  # by which DVC reads it: a path may hold commas, # and quotes

    folder, shared = (draft / ".dvc").resolve(), settings.var.resolve() / "dvc"
    # From the folder, as DVC takes them, so that both may be moved together.
    cache, remote = (os.path.relpath(shared / name, folder) for name in ("cache", "remote"))
    config = {
        "core": {"no_scm": True, "analytics": False, "remote": "local"},
        "cache": {"dir": cache},
        'remote "local"': {"url": settings.dvc_remote or remote},
    }
    written = io.BytesIO()
    ConfigObj(config, encoding="utf-8").write(written)
    durable_files.write_file(folder / "config", written.getvalue())
    durable_files.write_file(draft / ".dvcignore", f"*{durable_files.UNFINISHED}\n")
