"""Train a checkout on a slice of the data, in a temporary home: recipe, gates and refit.

It runs the functions of a training, so it measures what a training would do. Another commit is
measured by its own code, in a git worktree.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from features import durable_files
from pipelines.registry import refit
from pipelines.runtime import stage_command
from pipelines.training import dvc_stages, lineage, workspace
from pipelines.training.training_files import TrainingFiles
from settings import LoopError, Settings, UserError

REPORT_FORMAT = 1  # of report.json: the report to compare with may be older


class Measurement(NamedTuple):
    """The content of `report.json`, and each candidate's predictions on the holdout."""

    report: dict[str, Any]
    predictions: pd.DataFrame


def overlay_params(params: dict[str, Any], over: dict[str, Any], at: str = "") -> dict[str, Any]:
    """Return `params` with the values of `over`. Raise `UserError` for a name not in `params`."""
    merged = dict(params)
    for name, value in over.items():
        if name not in params:
            raise UserError(f"The slice sets {at}{name}, which params.yaml does not have.")
        nested = isinstance(params[name], dict) and isinstance(value, dict)
        merged[name] = overlay_params(params[name], value, f"{at}{name}.") if nested else value
    return merged


def scratch_settings(home: Path, slice_file: Path) -> Settings:
    """Return settings of a home that shares nothing with others, despite the environment."""
    try:
        over = yaml.safe_load(slice_file.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"The slice {slice_file} can't be read. {error}") from error
    if not isinstance(over, dict):
        raise UserError(f"The slice {slice_file} must hold a mapping, as params.yaml does.")
    settings = Settings.isolated(home)
    own = Settings(home=workspace.SOURCE_ROOT, workspace=None).params()
    settings.params_file.parent.mkdir(parents=True)
    durable_files.write_file(
        settings.params_file, yaml.safe_dump(overlay_params(own, over), sort_keys=False)
    )
    return settings


def measure_checkout(folder: Path, slice_file: Path) -> None:
    """Train this checkout on the slice and write the result to `folder`.

    It writes `report.json`, `predictions.parquet` (on the holdout) and `evaluation.html`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("report.json", "report.md"):  # an earlier one must not pass for the new one
        (folder / name).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="measured-") as home:
        settings = scratch_settings(Path(home), slice_file)
        settings.apply_environment()
        params = settings.params()
        path = workspace.open_workspace(settings, stage_command.parse_time(params["as_of"]))
        for name, before in dvc_stages.recipe_stages(settings, path).items():
            print(f"  {name}", flush=True)
            dvc_stages.run_stage(settings, path, name, before)
        files = TrainingFiles(path, settings.use_case)
        report = {
            "format": REPORT_FORMAT, "commit": lineage.git_commit(), "params": params,
            "measured": files.metrics, **files.gates, "artefact": [],
        }  # fmt: skip
        if report["winner"] is not None:
            print("  refit", flush=True)
            _, report["artefact"] = refit.refit_training(files)
        shutil.copyfile(files.data / "evaluation" / "report.html", folder / "evaluation.html")
        predictions = files.data / "candidates" / "predictions.parquet"
        shutil.copyfile(predictions, folder / "predictions.parquet")
    durable_files.write_json(folder / "report.json", report)


def measure_commit(name: str, folder: Path, slice_file: Path) -> None:
    """Let the commit `name` measure itself by its own code, on our slice with our packages."""
    try:
        commit = lineage.run_git("rev-parse", "--verify", f"{name}^{{commit}}")
    except LoopError as error:
        raise UserError(
            f"{name} is neither the folder of a report nor a commit here ({error}). Fetch it, or "
            "name another one: `make report BASE=...`. An empty BASE= compares with nothing."
        ) from error
    with lineage.commit_files(commit) as tree:
        room = tree / "pipelines" / "delivery"  # a file in older commits
        if not (room.is_dir() or room.with_suffix(".py").exists()):
            raise UserError(f"The commit {name} has no `make report`. Name a newer commit.")
        # Without our settings, which name our commit, our home and our servers, but with the use
        # case.
        # It is imported from its own tree, the working folder.
        named, kept = ("MLOPS_", "PYTHONSAFEPATH"), "MLOPS_USECASE"
        environment = {k: v for k, v in os.environ.items() if k == kept or not k.startswith(named)}
        subprocess.run(
            [sys.executable, "-m", "pipelines.delivery", "--out", str(folder.resolve()),
             "--slice", str(slice_file.resolve())],
            cwd=tree, env=environment, stdout=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    if not (folder / "report.json").exists():
        raise LoopError(f"{name} could not be measured. See above for the reason.")


def read_measurement(folder: Path) -> Measurement:
    """Read the measurement in `folder`. Raise `UserError` if it is missing or of another format."""
    try:
        report = json.loads((folder / "report.json").read_text())
        predictions = pd.read_parquet(folder / "predictions.parquet")
    except (OSError, ValueError) as error:
        raise UserError(
            f"The folder {folder} lacks a report with its predictions. {error}"
        ) from error
    if not isinstance(report, dict) or report.get("format") != REPORT_FORMAT:
        raise UserError(f"The report in {folder} is not of format {REPORT_FORMAT}. Make it again.")
    return Measurement(report, predictions)
