"""Print the state of the stack as JSON; runs inside a container by `python - < state.py`."""

import json

from pipelines.release.audit.verification import verify_release
from pipelines.replay import served_record
from pipelines.retraining import monitor
from pipelines.training import mlflow_tracking, training_outcome
from serving.prediction_log import reader
from serving.release import document
from settings import load_settings

settings = load_settings()
client = mlflow_tracking.mlflow_client(settings)
registered = client.search_registered_models(f"name = '{settings.usecase}'")
versions = client.search_model_versions(f"name = '{settings.usecase}'")
experiment = client.get_experiment_by_name(settings.usecase)
ids = [experiment.experiment_id] if experiment else []
running = client.search_runs(ids, filter_string="attributes.status = 'RUNNING'") if ids else []
served = document.read_release(settings)
log = reader.read_predictions(settings.use_case, settings.predictions)
print(
    json.dumps(
        {
            "champion": registered[0].aliases.get("champion") if registered else None,
            "served": served and served.champion.version,
            "data_until": {v.version: v.tags.get("data_until") for v in versions},
            "whole": {v.version: "digest" in v.tags and v.status == "READY" for v in versions},
            "record": verify_release(settings)[0],
            "running": [run.info.run_name for run in running],
            "outcomes": [outcome["told"] for outcome in training_outcome.list_outcomes(settings)],
            "logged": list(log["request_id"]),
            "keys": list(log["key"]),
            "monitored": monitor.latest_result(settings),
            "days": served_record.read_day_records(served_record.records_folder(settings)),
            "told_twice": int(log.attrs.get("duplicates", 0)),
        }
    )
)
