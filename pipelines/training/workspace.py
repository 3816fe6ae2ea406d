"""The workspace of a training run: a frozen copy of code, data and parameters, with DVC, no git.

The run does not see data that arrive later, and it changes no checkout. It shares the project's
DVC cache and remote, so its outputs can be restored from their md5.
"""

import hashlib
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import yaml

from features import durable_files, locks, partitions
from features.build_manifest import MANIFEST_FILE
from pipelines.training import assemble
from pipelines.training.dvc_stages import init_dvc
from settings import Settings, UserError

# Older versions had one use case, in `usecase`, and no contract.
CODE_FOLDERS = ("pipelines", "features", "serving", "monitoring", "usecases", "usecase")
CODE_FILES = ("settings.py", "contract.py", "parameters.py", "dvc.yaml", "requirements.lock")
GROWING_LAYERS = ("raw", "validated", "quarantine", "features")
SOURCE_ROOT = Path(__file__).resolve().parents[2]


def training_id(settings: Settings, as_of: datetime) -> str:
    """Return the name of the run that trains as of `as_of` with this code and these parameters."""
    digest = partitions.recipe_digest(settings.params_file, code_digest(SOURCE_ROOT))
    return f"{as_of.astimezone(UTC):%Y%m%dT%H%M}-{digest[:8]}"


def open_workspace(settings: Settings, as_of: datetime) -> Path:
    """Return the workspace of the training as of `as_of`; create it, or continue an existing one.

    It holds a copy of the current champion, if there is one, for comparison.
    """
    path = settings.state / "training" / training_id(settings, as_of)
    if path.exists():
        init_dvc(settings, path)  # again: the home may have been moved
        return path
    champion = require_newer_than_champion(settings, as_of)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=path.parent))
    copy_code(draft)
    with locks.hold_data_lock(settings):  # partitions, tables and manifests of one moment
        _link_data(settings, draft, as_of)
    params = settings.params() | {"as_of": as_of.isoformat()}
    copied = draft / settings.data.relative_to(settings.root) / "champion"
    copied.mkdir(parents=True)
    (copied / ".gitkeep").touch()
    if champion is not None:
        folder, data_until = champion
        shutil.copytree(folder / "served", copied / "served")
        shutil.copyfile(folder / "card.json", copied / "card.json")
        start = assemble.holdout_start(params, as_of, settings.use_case.horizon, data_until)
        params["training"]["holdout_start"] = start.isoformat()
    durable_files.write_file(draft / params_file(settings), yaml.safe_dump(params, sort_keys=False))
    init_dvc(settings, draft)
    durable_files.publish_folder(draft, path)
    return path


def params_file(settings: Settings) -> Path:
    """Return the parameters of the use case, below a workspace."""
    return settings.params_file.relative_to(settings.root)


def require_newer_than_champion(
    settings: Settings, as_of: datetime
) -> tuple[Path, datetime] | None:
    """Return the folder of the champion's files and the end of its data; None without a champion.

    Raise `UserError` if the data end at or after `as_of`. No case would be left on which a
    challenger and the champion compare fairly.
    """
    from serving.models.served_form import read_card
    from serving.release.document import read_release

    release = read_release(settings)
    if release is None:
        return None
    folder = settings.state / "models" / release.champion.version
    card = read_card(folder)
    data_until = datetime.fromisoformat(card["data_until"])
    if as_of <= data_until:
        raise UserError(
            f"The champion, version {release.champion.version}, knows all data up to "
            f"{data_until:%Y-%m-%d %H:%M} UTC. Train as of a later day (mlops train --as-of DAY)."
        )
    return folder, data_until


def code_digest(root: Path) -> str:
    """Return a digest of the code below `root`, without the parameters of the training.

    A checkout and its frozen copy in a workspace have the same digest.
    """
    digest = hashlib.sha256()
    for path in _code_files(root):
        name = path.relative_to(root).as_posix()
        if path.name != "params.yaml":
            digest.update(name.encode() + path.read_bytes())
    return digest.hexdigest()


def copy_code(target: Path, root: Path = SOURCE_ROOT) -> None:
    """Copy the code below `root` to `target`."""
    for path in _code_files(root):
        copy = target / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _code_files(root: Path) -> list[Path]:
    files = [path for name in CODE_FOLDERS for path in (root / name).rglob("*") if path.is_file()]
    code = [path for path in files if path.suffix in {".py", ".yaml", ".md", ".j2"}]
    return sorted(code) + [root / name for name in CODE_FILES if (root / name).exists()]


def _link_data(settings: Settings, draft: Path, as_of: datetime) -> None:
    # Partitions are replaced and never edited, so a hard link freezes them at no cost.
    until = as_of.astimezone(UTC).date()
    for layer in GROWING_LAYERS:
        (draft / settings.data.relative_to(settings.root) / layer).mkdir(
            parents=True, exist_ok=True
        )
        for path in partitions.files_below(settings.data / layer):
            if path.name in {partitions.RECIPE, MANIFEST_FILE} or (
                path.suffix == partitions.SUFFIX and partitions.partition_day(path) < until
            ):
                copy = draft / path.relative_to(settings.root)
                copy.parent.mkdir(parents=True, exist_ok=True)
                durable_files.link_or_copy(path, copy)
