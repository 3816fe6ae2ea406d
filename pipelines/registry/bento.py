"""The service as one BentoML archive: code, pinned packages and the current champion.

A Bento that starts without a release file serves the packaged champion. Then every answer and log
entry says `fallback`.
"""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from features import durable_files
from pipelines.training import lineage
from pipelines.training.workspace import SOURCE_ROOT
from serving.command import PACKAGED_USE_CASE
from serving.models import served_form
from serving.release import document
from serving.wiring import PACKAGED_RELEASE
from settings import Settings, UserError

BENTO_CODE = (
    "settings.py", "contract.py", "parameters.py", "serving", "features", "usecases",
    "requirements.lock",
)  # fmt: skip


def build_bento(settings: Settings, target: Path) -> str:
    """Build a Bento of the champion, export it to the archive `target` and return its tag.

    Raises `UserError` if nothing is released or `target` exists, `LoopError` if the champion's
    files do not match its digest.
    """
    current = document.read_release(settings)
    if current is None:
        raise UserError("No version is released, so there is nothing to package. Run `mlops run`.")
    if target.exists():
        raise UserError(f"{target} already exists. Choose another file.")
    settings.apply_environment()
    import bentoml

    with tempfile.TemporaryDirectory(prefix="bento-") as folder:
        labels = _fill(settings, current, Path(folder))
        bento: Any = bentoml.build(
            "serving.service:Predictor",
            name=settings.usecase,
            build_ctx=folder,
            labels=labels,
            include=["**"],
            description=(settings.use_case.folder / "card.md").read_text(),
            # The lock file has all packages with hashes; BentoML would resolve them again.
            python={"requirements_txt": "requirements.lock", "lock_packages": False},
        )
        # BentoML chooses the format by the end of the name.
        exported = bento.export(str(Path(folder) / f"exported-{target.name}"))
        with durable_files.atomic_replace(target) as unfinished:
            shutil.copyfile(exported, unfinished)
    return str(bento.tag)


def _fill(settings: Settings, current: document.Release, folder: Path) -> dict[str, str]:
    """Copy code and champion into `folder`; return the labels of the Bento."""
    champion = current.champion
    source = settings.release_file.parent / champion.path
    files = served_form.read_model_files(source, champion.digest)
    for name in BENTO_CODE:
        if (source_code := SOURCE_ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source_code, folder / name, ignore=ignored)
        else:
            shutil.copy(source_code, folder / name)
    packaged = folder / PACKAGED_RELEASE.parent.name
    served_form.write_model_files(packaged / "served", files)
    durable_files.write_file(packaged / PACKAGED_USE_CASE.name, settings.usecase)
    card = served_form.read_card(source.parent)
    durable_files.write_json(packaged / "card.json", card)
    alone = replace(
        current, champion=replace(champion, path="served"), challenger=None, frozen=False
    )
    durable_files.write_json(packaged / PACKAGED_RELEASE.name, document.document_fields(alone))
    made_from = {name: value for name, value in card.items() if isinstance(value, str)}
    return made_from | {
        "model_version": champion.version, "model_digest": champion.digest,
        "threshold": str(champion.threshold), "service_commit": lineage.git_commit(),
    }  # fmt: skip
