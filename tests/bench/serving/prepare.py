"""The home of the serving benchmark: real days, their features, a model, its releases.

Built once below `var/bench-serving`, by the same code as the loop.
"""

import json
import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import settings as configuration

ROOT = Path(__file__).parents[3]
HOME = ROOT / "var" / "bench-serving"
AT, END = datetime(2013, 1, 10, tzinfo=UTC), datetime(2013, 1, 12, tzinfo=UTC)
ROWS = 200  # the load sends these in turn


def setup_home() -> configuration.Settings:
    """Return the settings of the benchmark's home, with today's parameters; set MLOPS_HOME."""
    os.environ["MLOPS_HOME"] = str(HOME)
    settings = configuration.load_settings()
    settings.params_file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(settings.use_case.folder / "params.yaml", settings.params_file)
    return settings


def load_or_build() -> dict[str, Any]:
    """Return paths, digests and rows of the home; build it if it is missing."""
    settings, note = setup_home(), HOME / "made.json"
    if not note.exists():
        note.write_text(json.dumps(_build(settings)))
    prepared: dict[str, Any] = json.loads(note.read_text())
    return prepared


def publish() -> None:
    """Fill the online store that the environment names: SQLite or Redis."""
    from features import online_publisher

    online_publisher.rebuild_online_store(setup_home(), AT)


def _build(settings: configuration.Settings) -> dict[str, Any]:
    import joblib
    import mlflow
    import pandas as pd

    from features import partitions
    from features.feast_store import apply_definitions
    from features.online_reader import OnlineReader
    from features.point_in_time import training_frame
    from pipelines.ingestion import ingest, validate
    from pipelines.runtime import traffic
    from pipelines.training import build_features
    from serving.models.evaluator import export_model
    from serving.release.document import Challenger, Release, ServedModel, write_release

    use_case = settings.use_case
    for step in (
        ingest.fetch_due_batches,
        validate.validate_new_batches,
        build_features.build_feature_tables,
    ):
        print(step.__name__, file=sys.stderr, flush=True)
        step(settings, END)
    apply_definitions(settings)
    publish()
    cases = traffic.cases_between(settings, first_day(), END)
    days = first_day().date(), END.date()
    outcomes = partitions.read_days(settings.data, "validated", use_case.label_feed, *days)
    columns = use_case.features
    frame = training_frame(settings, cases).merge(use_case.labels(outcomes), on="key")
    model, _ = use_case.candidates(settings.params())["gradient_boosting"]
    model.set_params(model__max_iter=100) if "model__max_iter" in model.get_params() else None
    model.fit(frame[columns], frame["label"])
    joblib.dump(model, HOME / "model.joblib")
    shutil.rmtree(HOME / "mlflow-model", ignore_errors=True)
    mlflow.sklearn.save_model(
        model, HOME / "mlflow-model", pip_requirements=[], serialization_format="cloudpickle"
    )
    served = settings.state / "models" / "1"
    digest = export_model(model, served)
    shutil.copytree(served, settings.state / "models" / "2", dirs_exist_ok=True)
    one, two = (ServedModel(n, digest, f"../models/{n}", 0.2) for n in ("1", "2"))
    now = datetime.now(UTC)
    write_release(settings, Release(1, one, now))
    shadow = Challenger(two, "shadow", 0, now)
    write_release(settings, Release(1, one, now, challenger=shadow), settings.staging_file)
    sample = cases[cases["decision_time"] >= AT].head(ROWS)
    rows = OnlineReader(settings).read(sample.to_dict("records"), list(sample["decision_time"]))
    values = [row.values for row in rows]
    return {
        "served": str(served), "digest": digest,
        "predict": [json.dumps(use_case.payload(case)) for case in sample.to_dict("records")],
        "score": [
            json.dumps({"key": f"bench-{n}", "decision_time": AT.isoformat(), "features": value})
            for n, value in enumerate(values)
        ],
        "mlflow": [
            json.dumps({"dataframe_split": {
                "columns": columns, "data": [[value[c] for c in columns]],
            }})
            for value in values
        ],
        "rows": int(pd.DataFrame(values).shape[0]),
    }  # fmt: skip


def first_day() -> datetime:
    return datetime(2013, 1, 3, tzinfo=UTC)


if __name__ == "__main__":
    publish() if sys.argv[1:] == ["publish"] else load_or_build()
