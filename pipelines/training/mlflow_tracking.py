"""Log a training to MLflow: one run per candidate, after all stages of the recipe.

The stages themselves log nothing. DVC may restore a stage from its cache without running it, and a
killed training leaves no half-logged run in MLflow.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from features import locks
from pipelines.runtime import embedded_databases, upgrade
from settings import Settings

EXPERIMENT_NAME = "mlops-loop"
PINNED_PACKAGES = ("scikit-learn", "skops", "numpy", "pandas")


def log_training(settings: Settings, path: Path, md5s: dict[str, str]) -> dict[str, str]:
    """Log the baseline and each candidate of the training in `path`; return run ids by name.

    A run that is already logged is found by its tags and not logged again.
    """
    from pipelines.training import lineage

    data = path / "data"
    metrics = json.loads((data / "evaluation" / "metrics.json").read_text())
    fitted = json.loads((data / "candidates" / "candidates.json").read_text())
    gates = json.loads((data / "evaluation" / "gates.json").read_text())
    tags = lineage.lineage_tags(path, md5s)
    runs = {}
    for name in ("baseline", *fitted):
        logged = find_mlflow_run(settings, {"training_id": path.name, "candidate": name})
        runs[name] = logged or _log_candidate(
            settings, path, name, fitted.get(name, {}), metrics[name],
            tags | {"candidate": name, **_gate_tags(gates, name)},
        )  # fmt: skip
    return runs


def mlflow_client(settings: Settings) -> Any:
    """Return MLflow's client on the project's tracking server and registry."""
    return _mlflow(settings).MlflowClient()


def experiment_id(settings: Settings, name: str) -> str:
    """Return the id of the experiment; create it if there is none."""
    return _experiment(settings, _mlflow(settings), name)


def redact_credentials(text: str) -> str:
    """Remove user names and passwords from the URLs in a text."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def find_mlflow_run(settings: Settings, tags: dict[str, str]) -> str | None:
    """Return the id of the finished run with these tags; None if there is none."""
    mlflow = _mlflow(settings)
    query = " and ".join(f"tags.{name} = '{value}'" for name, value in tags.items())
    runs = mlflow.search_runs(
        experiment_names=[EXPERIMENT_NAME],
        filter_string=f"{query} and attributes.status = 'FINISHED'",
        output_format="list",
        max_results=1,
    )
    return str(runs[0].info.run_id) if runs else None


def close_leftover_runs(settings: Settings) -> int:
    """Mark the runs that a killed process left RUNNING as KILLED; return their number."""
    mlflow = _mlflow(settings)
    client = mlflow.MlflowClient()
    running = mlflow.search_runs(
        experiment_names=[EXPERIMENT_NAME], filter_string="attributes.status = 'RUNNING'",
        output_format="list",
    )  # fmt: skip
    for run in running:
        client.set_terminated(run.info.run_id, status="KILLED")
    return len(running)


@contextmanager
def start_run(settings: Settings, name: str, tags: dict[str, str]) -> Iterator[Any]:
    """Start a run that has these tags from the beginning; it becomes FAILED if the block raises."""
    mlflow = _mlflow(settings)
    mlflow.set_experiment(EXPERIMENT_NAME)
    with mlflow.start_run(run_name=name, tags=tags) as run:
        yield run


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


def _log_candidate(
    settings: Settings, path: Path, name: str, summary: dict[str, Any],
    metrics: dict[str, float], tags: dict[str, str],
) -> str:  # fmt: skip
    from monitoring.pages.charts import evaluation_figures
    from pipelines.training.train import read_holdout_predictions

    mlflow = _mlflow(settings)
    scores = read_holdout_predictions(path / "data")
    with start_run(settings, f"{name} {tags['as_of'][:10]}", tags) as run:
        run_id = str(run.info.run_id)
        mlflow.log_params(_logged_params(summary))
        mlflow.log_metrics(metrics)
        for step, trial in enumerate(summary.get("trials", [])):
            mlflow.log_metric("search_log_loss", trial["log_loss"], step=step)
        mlflow.log_dict(summary, "search.json")
        for title, figure in evaluation_figures({name: metrics}, scores, name).items():
            mlflow.log_figure(figure, f"plots/{title}.png")
        for artifact in ("gates.json", "report.html", "roc.csv", "calibration.csv"):
            mlflow.log_artifact(str(path / "data" / "evaluation" / artifact), "evaluation")
        if summary:
            _log_fitted(settings, path, name, run_id)
    return run_id


def _log_fitted(settings: Settings, path: Path, name: str, run_id: str) -> None:
    from serving.models import skops_file
    from usecase.columns import FEATURES

    model = skops_file.load_skops((path / "data" / "candidates" / f"{name}.skops").read_bytes())
    training = pd.read_parquet(path / "data" / "training" / "training.parquet", columns=FEATURES)
    log_model(settings, model, training.tail(5), run_id)


def _gate_tags(gates: dict[str, Any], name: str) -> dict[str, str]:
    if name not in gates["verdicts"]:
        return {"gates": "not judged"}
    refused = [each["gate"] for each in gates["verdicts"][name] if not each["passed"]]
    return {
        "gates": "passed" if not refused else "refused: " + ", ".join(refused),
        "winner": str(gates["winner"] == name).lower(),
    }


def _logged_params(summary: dict[str, Any]) -> dict[str, Any]:
    facts = {name: summary[name] for name in ("n_train", "seed", "seconds") if name in summary}
    return facts | summary.get("params", {})


def _mlflow(settings: Settings) -> Any:
    """Return `mlflow` set to the project's server or file, and create an embedded database."""
    import mlflow
    import mlflow.sklearn

    mlflow.set_tracking_uri(settings.mlflow_uri)
    if settings.tracking_uri is None:
        database = embedded_databases.mlflow_database(settings)
        database.parent.mkdir(parents=True, exist_ok=True)
        upgrade.upgrade_home(settings)
        # A half-created database would look like that of an older version.
        with (
            nullcontext()
            if database.exists()
            else locks.hold_lock(upgrade.state_lock_file(settings))
        ):
            _experiment(settings, mlflow, EXPERIMENT_NAME)
    return mlflow


def _experiment(settings: Settings, mlflow: Any, name: str) -> str:
    experiment = mlflow.get_experiment_by_name(name)
    if experiment is not None:
        return str(experiment.experiment_id)
    # Artefacts of the embedded server are beside its database.
    location = (
        embedded_databases.artefact_root_uri(settings) if settings.tracking_uri is None else None
    )
    return str(mlflow.create_experiment(name, artifact_location=location))
