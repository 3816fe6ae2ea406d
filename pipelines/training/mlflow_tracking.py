"""Log a training to MLflow: one run per candidate, after all stages of the recipe.

The stages themselves log nothing. DVC may restore a stage from its cache without running it, and a
killed training leaves no half-logged run in MLflow.
"""

import os
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from features import locks
from pipelines.runtime import embedded_databases, upgrade
from pipelines.training.training_files import TrainingFiles
from settings import Settings

PINNED_PACKAGES = ("scikit-learn", "skops", "numpy", "pandas")


def log_training(settings: Settings, path: Path, md5s: dict[str, str]) -> dict[str, str]:
    """Log the baseline and each candidate of the training in `path`; return run ids by name.

    A run that is already logged is found by its tags and not logged again.
    """
    from pipelines.training import lineage

    files = TrainingFiles(path, settings.use_case)
    tags = lineage.lineage_tags(files, md5s)
    finished = _search_runs(
        settings, f"tags.training_id = '{path.name}' and attributes.status = 'FINISHED'"
    )
    # The newest first, which may be the refit of a candidate.
    logged = {run.data.tags["candidate"]: str(run.info.run_id) for run in finished}
    return {
        name: logged.get(name) or _log_candidate(settings, files, name, tags)
        for name in ("baseline", *files.candidates)
    }


def mlflow_client(settings: Settings) -> Any:
    """Return MLflow's client on the project's tracking server and registry."""
    return _mlflow(settings).MlflowClient()


def experiment_id(settings: Settings, name: str) -> str:
    """Return the id of the experiment; create it if there is none, restore it if it was deleted.

    MLflow adds no run to a deleted experiment, and no second one can have its name.
    """
    mlflow = _mlflow(settings)
    experiment = mlflow.get_experiment_by_name(name)
    if experiment is None:
        return _create_experiment(settings, name)
    if experiment.lifecycle_stage == "deleted":
        mlflow.MlflowClient().restore_experiment(experiment.experiment_id)
        embedded_databases.print_notice(
            f"The experiment {name} was deleted in MLflow. It is restored with its runs."
        )
    return str(experiment.experiment_id)


def close_leftover_runs(settings: Settings) -> int:
    """Mark the runs that a killed process left RUNNING as KILLED; return their number."""
    running = _search_runs(settings, "attributes.status = 'RUNNING'")
    for run in running:
        mlflow_client(settings).set_terminated(run.info.run_id, status="KILLED")
    return len(running)


def start_run(settings: Settings, name: str, tags: dict[str, str]) -> Any:
    """Start a run that has these tags from the beginning.

    It is a context manager of the run, which becomes FAILED if the block raises.
    """
    experiment = experiment_id(settings, settings.usecase)
    os.environ.pop("MLFLOW_RUN_ID", None)  # of another project: MLflow would continue that run
    return _mlflow(settings).start_run(run_name=name, tags=tags, experiment_id=experiment)


def log_model(settings: Settings, model: Any, example: pd.DataFrame, run_id: str) -> Any:
    """Log a fitted pipeline with signature, example and pins, in skops' format (never pickle)."""
    from mlflow.models import infer_signature

    from serving.models.skops_file import TRUSTED_TYPES

    mlflow = _mlflow(settings)
    probability = model.predict_proba(example)[:, 1]
    return mlflow.sklearn.log_model(
        model, name="model", run_id=run_id,
        signature=infer_signature(example, probability), input_example=example,
        pip_requirements=[f"{package}=={version(package)}" for package in PINNED_PACKAGES],
        serialization_format="skops", skops_trusted_types=list(TRUSTED_TYPES),
        pyfunc_predict_fn="predict_proba",
    )  # fmt: skip


def _search_runs(settings: Settings, query: str) -> list[Any]:
    return _mlflow(settings).search_runs(
        experiment_names=[settings.usecase], filter_string=query, output_format="list"
    )


def _log_candidate(
    settings: Settings, files: TrainingFiles, name: str, tags: dict[str, str]
) -> str:
    from mlflow.entities import Metric, Param

    from monitoring.pages.charts import evaluation_figures

    mlflow = _mlflow(settings)
    summary, metrics = files.candidates.get(name, {}), files.metrics[name]
    tags = tags | {"candidate": name, **_gate_tags(files.gates, name)}
    facts = {key: summary[key] for key in ("n_train", "seed", "seconds") if key in summary}
    with start_run(settings, f"{name} {tags['as_of'][:10]}", tags) as run:
        run_id = str(run.info.run_id)
        losses = [trial["log_loss"] for trial in summary.get("trials", [])]
        values = [
            *((key, value, 0) for key, value in metrics.items()),
            *(("search_log_loss", loss, step) for step, loss in enumerate(losses)),
        ]
        at = int(time.time() * 1000)
        mlflow.MlflowClient().log_batch(
            run_id,
            [Metric(key, value, at, step) for key, value, step in values],
            [Param(key, str(value)) for key, value in (facts | summary.get("params", {})).items()],
        )
        mlflow.log_dict(summary, "search.json")
        for title, figure in evaluation_figures({name: metrics}, files.scores, name).items():
            mlflow.log_figure(figure, f"plots/{title}.png")
        for artifact in ("gates.json", "report.html", "roc.csv", "calibration.csv"):
            mlflow.log_artifact(str(files.data / "evaluation" / artifact), "evaluation")
        if summary:
            example = files.frame[settings.use_case.features].tail(5)
            log_model(settings, files.model(name), example, run_id)
    return run_id


def _gate_tags(gates: dict[str, Any], name: str) -> dict[str, str]:
    if name not in gates["verdicts"]:
        return {"gates": "not judged"}
    refused = [each["gate"] for each in gates["verdicts"][name] if not each["passed"]]
    return {
        "gates": "passed" if not refused else "refused: " + ", ".join(refused),
        "winner": str(gates["winner"] == name).lower(),
    }


def _mlflow(settings: Settings) -> Any:
    """Return `mlflow` set to the project's server or file, and create an embedded database."""
    import mlflow
    import mlflow.sklearn

    mlflow.set_tracking_uri(settings.mlflow_uri)
    mlflow.set_registry_uri(settings.mlflow_uri)  # otherwise a variable of the user wins
    if settings.tracking_uri is None:
        database = embedded_databases.mlflow_database(settings)
        database.parent.mkdir(parents=True, exist_ok=True)
        upgrade.upgrade_home(settings, {"mlflow"})
        if not database.exists():
            # A half-created database would look like that of an older version.
            with locks.hold_lock(upgrade.state_lock_file(settings)):
                if not database.exists():  # made by another process meanwhile
                    _create_experiment(settings, settings.usecase)
    return mlflow


def _create_experiment(settings: Settings, name: str) -> str:
    import mlflow

    # Artefacts of the embedded server are beside its database.
    embedded = settings.tracking_uri is None
    location = embedded_databases.artefact_root_uri(settings) if embedded else None
    return str(mlflow.create_experiment(name, artifact_location=location))
