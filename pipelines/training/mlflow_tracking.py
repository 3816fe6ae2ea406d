"""What MLflow is told of a training: every candidate a run, logged once its stages are done.

Logging follows the recipe's stages instead of happening inside them: DVC may give a stage's result
back from its cache, and a run that is killed half-way leaves nothing in MLflow to be mended.
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
    """Logs the baseline and each candidate of the training in `path`; their run ids by name.

    What was logged before is found by its tags and not logged again.
    """
    from pipelines.training import lineage

    data = path / "data"
    measured = json.loads((data / "evaluation" / "metrics.json").read_text())
    fitted = json.loads((data / "candidates" / "candidates.json").read_text())
    found = json.loads((data / "evaluation" / "gates.json").read_text())
    tags = lineage.lineage_tags(path, md5s)
    runs = {}
    for name in ("baseline", *fitted):
        done = find_mlflow_run(settings, {"training_id": path.name, "candidate": name})
        runs[name] = done or _log_candidate(
            settings, path, name, fitted.get(name, {}), measured[name],
            tags | {"candidate": name, **_outcome(found, name)},
        )  # fmt: skip
    return runs


def mlflow_client(settings: Settings) -> Any:
    """MLflow's client on our tracking server and registry."""
    return _mlflow(settings).MlflowClient()


def experiment_id(settings: Settings, name: str) -> str:
    """The id of the experiment, made if there is none."""
    return _experiment(settings, _mlflow(settings), name)


def redact_credentials(text: str) -> str:
    """The text, with no name and password in the addresses that it tells."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def find_mlflow_run(settings: Settings, tags: dict[str, str]) -> str | None:
    """The id of the finished run with these tags; None if there is none."""
    mlflow = _mlflow(settings)
    query = " and ".join(f"tags.{name} = '{value}'" for name, value in tags.items())
    found = mlflow.search_runs(
        experiment_names=[EXPERIMENT_NAME],
        filter_string=f"{query} and attributes.status = 'FINISHED'",
        output_format="list",
        max_results=1,
    )
    return str(found[0].info.run_id) if found else None


def close_leftover_runs(settings: Settings) -> int:
    """Marks the runs that a killed process left RUNNING as KILLED; how many there were."""
    mlflow = _mlflow(settings)
    client = mlflow.MlflowClient()
    left = mlflow.search_runs(
        experiment_names=[EXPERIMENT_NAME], filter_string="attributes.status = 'RUNNING'",
        output_format="list",
    )  # fmt: skip
    for run in left:
        client.set_terminated(run.info.run_id, status="KILLED")
    return len(left)


@contextmanager
def start_run(settings: Settings, name: str, tags: dict[str, str]) -> Iterator[Any]:
    """A run with these tags from its first moment on; FAILED if the block raises."""
    mlflow = _mlflow(settings)
    mlflow.set_experiment(EXPERIMENT_NAME)
    with mlflow.start_run(run_name=name, tags=tags) as started:
        yield started


def log_model(settings: Settings, model: Any, example: pd.DataFrame, run_id: str) -> Any:
    """Logs a fitted pipeline with signature, example and pins, in skops' format (never pickle)."""
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
    measured: dict[str, float], tags: dict[str, str],
) -> str:  # fmt: skip
    from monitoring.pages.charts import evaluation_figures
    from pipelines.training.train import read_holdout_predictions

    mlflow = _mlflow(settings)
    scores = read_holdout_predictions(path / "data")
    with start_run(settings, f"{name} {tags['as_of'][:10]}", tags) as started:
        run_id = str(started.info.run_id)
        mlflow.log_params(_flat(summary))
        mlflow.log_metrics(measured)
        for step, trial in enumerate(summary.get("trials", [])):
            mlflow.log_metric("search_log_loss", trial["log_loss"], step=step)
        mlflow.log_dict(summary, "search.json")
        for title, figure in evaluation_figures({name: measured}, scores, name).items():
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


def _outcome(found: dict[str, Any], name: str) -> dict[str, str]:
    if name not in found["verdicts"]:
        return {"gates": "not judged"}
    refused = [each["gate"] for each in found["verdicts"][name] if not each["passed"]]
    return {
        "gates": "passed" if not refused else "refused: " + ", ".join(refused),
        "winner": str(found["winner"] == name).lower(),
    }


def _flat(summary: dict[str, Any]) -> dict[str, Any]:
    flat = {name: summary[name] for name in ("n_train", "seed", "seconds") if name in summary}
    return flat | summary.get("params", {})


def _mlflow(settings: Settings) -> Any:
    """MLflow on our server or file; artefacts of the embedded one lie beside its database."""
    import mlflow
    import mlflow.sklearn

    mlflow.set_tracking_uri(settings.mlflow_uri)
    if settings.tracking_uri is None:
        database = embedded_databases.mlflow_database(settings)
        database.parent.mkdir(parents=True, exist_ok=True)
        upgrade.upgrade_home(settings)
        # Half-made, it would look like one of an older version.
        with (
            nullcontext()
            if database.exists()
            else locks.hold_lock(upgrade.state_lock_file(settings))
        ):
            _experiment(settings, mlflow, EXPERIMENT_NAME)
    return mlflow


def _experiment(settings: Settings, mlflow: Any, name: str) -> str:
    found = mlflow.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    own = embedded_databases.artefact_root_uri(settings) if settings.tracking_uri is None else None
    return str(mlflow.create_experiment(name, artifact_location=own))
