"""A registry with three tiny versions, for tests of releases."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline

from pipelines.registry.version_files import sign_files
from pipelines.release.audit import recorder
from pipelines.release.audit.trail import AuditEntry
from pipelines.training import mlflow_tracking
from serving.models import evaluator
from serving.release.document import Release, read_release
from settings import Settings
from tests.use_case import USE_CASE, copy_params

VERDICTS = [{"gate": "beats the baseline", "passed": True, "told": "cost per 1,000"}]


def make_registry(home: Path) -> Settings:
    """Return a home whose registry holds the unreleased versions 1, 2 and 3."""
    settings = copy_params(Settings(home=home))
    client = mlflow_tracking.mlflow_client(settings)
    client.create_registered_model(USE_CASE.name)
    for seed in (1, 2, 3):
        _add_version(settings, home / "made" / str(seed), seed)
    return settings


def _add_version(settings: Settings, made: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": rng.normal(size=60), "b": rng.normal(size=60)})
    encode = ColumnTransformer([("numbers", "passthrough", ["a", "b"])])
    model = Pipeline([("encode", encode), ("model", HistGradientBoostingClassifier(max_iter=2))])
    digest = evaluator.export_model(model.fit(frame, rng.permutation(60) % 2), made / "served")
    frame.to_parquet(made / "reference.parquet")
    facts = {
        "candidate": "boosting", "digest": digest, "verdicts": VERDICTS,
        "data_until": "2013-04-01T00:00:00+00:00", "dvc_md5_training": f"{seed:032d}",
    }  # fmt: skip
    (made / "facts.json").write_text(json.dumps(facts))
    sign_files(settings, made, digest)
    client = mlflow_tracking.mlflow_client(settings)
    with mlflow_tracking.start_run(
        settings, f"refit {seed}", {"training_id": f"training-{seed}"}
    ) as run:
        client.log_artifacts(run.info.run_id, str(made))
    client.create_model_version(
        USE_CASE.name, f"runs:/{run.info.run_id}/served", run.info.run_id,
        tags={"digest": digest, "dvc_md5_training": f"{seed:032d}"},
    )  # fmt: skip


def served_release(settings: Settings) -> Release:
    """The document in the services' release file, which must exist."""
    release = read_release(settings)
    assert release is not None
    return release


def audit_entries(settings: Settings) -> tuple[AuditEntry, ...]:
    return recorder.read_recorded_release(settings).trail.entries


def release_aliases(settings: Settings) -> dict[str, str]:
    """The registry's aliases, such as champion, each with its version."""
    model = mlflow_tracking.mlflow_client(settings).get_registered_model(USE_CASE.name)
    return {alias: str(version) for alias, version in model.aliases.items()}
