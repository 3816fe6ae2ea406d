"""The stable codes: what each means, and the command that mends it.

A code is spoken by `mlops`, the service, monitoring or an alert; a body's `error` and an alert's
name are codes in other letters (`code_of`). A command is what a user types; words in capitals are
theirs to fill in. No command: nothing is broken, or the message says who acts.
It has more lines than other files because a test holds it equal to the codes in the code, and
docs/remedies.md to it (`make docs`).
"""

import re
from typing import NamedTuple

from settings import LoopError


class Remedy(NamedTuple):
    """What a code means, and the command that mends it; empty if there is none."""

    message: str
    command: str = ""


FEATURES = "mlops features"
FILES = "var/usecases/USECASE/models/VERSION"
INGEST_AGAIN = "mlops ingest --again FEED/DAY"
NO_PROXY = "export NO_PROXY=127.0.0.1,localhost,::1"
PREDICT = "mlops predict CASE"
REBUILD = f"rm -f var/usecases/USECASE/feast/online.db* && {FEATURES}"
REPAIR = "mlops repair"
ROLLBACK = "mlops rollback --reason TEXT"
RESTART = "docker compose up -d"
TRAIN = "mlops train"

SERVICE = {
    "another_outcome_stands": Remedy("The opposite outcome is on record; it stays"),
    "body_too_large": Remedy("The body is too long", "mlops predict --csv FILE --out ANSWERS"),
    "foreign_host": Remedy("Host names another machine", "MLOPS_ALLOWED_HOSTS=HOST mlops serve"),
    "head_too_large": Remedy("The headers are too long", PREDICT),
    "internal_error": Remedy("The service failed", "docker compose logs --tail 100 api"),
    "invalid_request": Remedy("The body does not fit the route", PREDICT),
    "malformed_http": Remedy("The request is not HTTP/1.1", PREDICT),
    "no_model_yet": Remedy("No version is served", "mlops promote VERSION"),
    "not_allowed": Remedy("The token lacks the role", "mlops token ROLE NAME"),
    "not_explained": Remedy("The served model has no trees", "mlops promote VERSION"),
    "not_ready": Remedy("The service can't predict; the detail says why", "mlops promote VERSION"),
    "overloaded": Remedy("Too many requests run at once; ask again in a second", PREDICT),
    "request_too_slow": Remedy("The request did not arrive in time", PREDICT),
    "several_predictions": Remedy("Several predictions have this id; `fields` lists them"),
    "token_missing_or_wrong": Remedy("The token is not valid", f"MLOPS_TOKEN=TOKEN {PREDICT}"),
    "too_many_requests": Remedy("The client is too fast; ask again in a second", PREDICT),
    "unavailable": Remedy("A part of the service is unavailable", "mlops doctor"),
    "unknown_path": Remedy("There is no such path", "curl -s localhost:3000/"),
    "unknown_prediction": Remedy("The log has no such prediction", PREDICT),
    "wrong_content_type": Remedy("The body is not JSON", PREDICT),
    "wrong_method": Remedy("The path takes another method", "curl -s localhost:3000/"),
    "features_not_provided": Remedy("The model needs columns that no feature has", ROLLBACK),
    "log_not_synced": Remedy("The disk did not take the log", "docker compose restart api"),
    "log_not_written": Remedy("The log can't be written: no space", "mlops clean"),
    "nothing_released": Remedy("No version is released", "mlops run"),
}

RELEASE = {
    "barred": Remedy("The version was taken back", "mlops promote VERSION --again"),
    "digest_lost": Remedy("The version lost its digest in the registry", TRAIN),
    "document_contradicted": Remedy("The registry's document was changed by hand", REPAIR),
    "document_behind": Remedy("The registry is older than the release file", REPAIR),
    "document_lost": Remedy("The registry lost its release document", REPAIR),
    "document_malformed": Remedy("The registry's document is malformed", REPAIR),
    "experiment_under_way": Remedy("An experiment is under way", "mlops experiment stop"),
    "frozen": Remedy("Releases are frozen", "mlops unfreeze --reason TEXT"),
    "mlflow_unreachable": Remedy("MLflow does not answer", f"{RESTART} mlflow"),
    "model_damaged": Remedy("The files of a served version are damaged", REPAIR),
    "model_folder_taken": Remedy(
        "A model of the same number is in its folder",
        f"mv {FILES} {FILES}.old",
    ),
    "not_approved": Remedy("It needs an approval", "mlops approve VERSION --by NAME --reason TEXT"),
    "not_signed": Remedy("No trusted key signed the release document", REPAIR),
    "signing_key_lost": Remedy("The key that signs is lost", "mlops rotate-key --reason TEXT"),
    "record_broken": Remedy("Entries are missing or changed", "mlops history --verify"),
    "record_unusable": Remedy("No copy of the release is usable", "make restore FROM=BACKUP"),
    "registry_files_damaged": Remedy("The registry's files are damaged", ROLLBACK),
    "release_file_lost": Remedy("The release file is missing", REPAIR),
    "release_file_malformed": Remedy("The release file is malformed", REPAIR),
    "served_version_deleted": Remedy("A served version was deleted in the registry", ROLLBACK),
    "staging_file_malformed": Remedy("The file of staging is malformed", "mlops stage VERSION"),
    "superseded": Remedy("The release changed meanwhile; decide again", "mlops history"),
    "version_deleted": Remedy("The version and its files are gone", f"{ROLLBACK} --to VERSION"),
    "version_not_signed": Remedy(
        "No trusted key signed the version", "mlops approve VERSION --by NAME --reason TEXT"
    ),
    "version_unknown": Remedy("The registry has no such version", "mlops history"),
}

HOME = {
    "code_elsewhere": Remedy("The installed code is that of another checkout", "make install"),
    "disk_full": Remedy("Too little space is free", "mlops clean"),
    "disk_missing": Remedy("A link leads to a missing folder", "mkdir -p FOLDER"),
    "file_damaged": Remedy("A file is half-written", "rm FILE"),
    "home_moved": Remedy("The home was moved; the next command follows", "mlops status"),
    "lock_left": Remedy("A killed DVC left its lock", "rm FILE"),
    "locked": Remedy("Another process holds the lock; wait, or end it", "kill PID"),
    "owner_other": Remedy("Folders belong to another user", "sudo chown -R USER FOLDER"),
    "packages_differ": Remedy("Packages differ from requirements.lock", "make install"),
    "parameters_malformed": Remedy("They are malformed", "git stash push FILE"),
    "path_unusable": Remedy("The path is too long, or a tool can't read it", "mv FOLDER SHORTER"),
    "port_taken": Remedy("A port is taken", "kill PID"),
    "proxy_catches_loopback": Remedy("A proxy gets requests to this machine", NO_PROXY),
    "python_unsupported": Remedy("This Python is not supported", "make install PYTHON=python3.11"),
    "recipe_missing": Remedy("Files of DVC are missing", "git checkout -- dvc.yaml .dvc"),
    "server_down": Remedy("A server in the settings does not work", f"{RESTART} PART"),
    "state_newer": Remedy("A newer version wrote the state", "git pull && make install"),
    "state_older": Remedy("The state is older; the next command upgrades it", "mlops status"),
    "store_damaged": Remedy("The online store's file is damaged", REBUILD),
    "store_unreachable": Remedy("The online store does not answer", f"{RESTART} redis"),
    "unchecked": Remedy("The check itself failed; the message says why"),
}

MONITORING = {
    "by_hand": Remedy("A person started the training"),
    "calibration_gap": Remedy("The probabilities are miscalibrated", TRAIN),
    "cooldown": Remedy("The last training is recent"),
    "cost_above_expected": Remedy("The model costs more than expected", ROLLBACK),
    "coverage_low": Remedy("Too few predictions have a label", "mlops ingest"),
    "drift_share": Remedy("The features have drifted", TRAIN),
    "feature_unmeasured": Remedy("A feature could not be compared", FEATURES),
    "first_model": Remedy("It is the first training"),
    "labels_few": Remedy("Too few labels are known", "mlops ingest"),
    "labels_missing": Remedy("Labels are missing", "mlops ingest"),
    "new_labels": Remedy("Many labels are new", TRAIN),
    "quiet": Remedy("No trigger asks for a retraining"),
    "saving_gone": Remedy("The model saves nothing", ROLLBACK),
    "schedule_due": Remedy("The champion's data are old", TRAIN),
    "slice_implausible": Remedy("A slice's labels are implausible", INGEST_AGAIN),
    "slice_miscalibrated": Remedy("A slice is miscalibrated", TRAIN),
    "slices_unmeasured": Remedy("No slice has enough cases"),
    "target_drift": Remedy("The labels have drifted", TRAIN),
    "under_way": Remedy("A challenger is under way", "mlops rollout"),
    "values_missing": Remedy("The missing values of a feature have changed", FEATURES),
}

ROLLOUT = {
    "cost": Remedy("Withdrawn: it costs more", TRAIN),
    "deleted": Remedy("Withdrawn: its version was deleted in the registry", TRAIN),
    "errors": Remedy("Withdrawn: it failed on requests", TRAIN),
    "in_canary": Remedy("The canary continues"),
    "in_experiment": Remedy("The experiment continues"),
    "in_shadow": Remedy("The shadow continues"),
    "no_challenger": Remedy("There is no challenger"),
    "no_harm": Remedy("The canary did no harm"),
    "not_shown_worse": Remedy("The shadow is not shown to be worse"),
    "override": Remedy("An override let it pass"),
    "scores": Remedy("Withdrawn: its probabilities differ", TRAIN),
    "shown_not_worse": Remedy("The shadow is shown not to be worse"),
    "slow": Remedy("Withdrawn: it is slower", TRAIN),
    "time": Remedy("Withdrawn: too little evidence in time", TRAIN),
}

ALERTS = {
    "alert_events_waiting": Remedy("Prefect took no events of alerts", f"{RESTART} prefect"),
    "alerts_not_delivered": Remedy("Alerts do not arrive", f"{RESTART} watch"),
    "api_down": Remedy("No replica is up", f"{RESTART} api"),
    "availability_level": Remedy("The service is not as available as promised", ROLLBACK),
    "batch_refused": Remedy("Validation refused a whole batch", "mlops ingest"),
    "check_not_run": Remedy("A check of the model could not run", "mlops monitor"),
    "data_stale": Remedy("Batches are missing", "mlops ingest"),
    "disk_nearly_full": Remedy("A disk is nearly full", "mlops clean"),
    "error_rate": Remedy("Requests fail", ROLLBACK),
    "fallback_answers": Remedy("Predictions lack the online store", f"{RESTART} redis"),
    "feature_age_level": Remedy("Features are older than promised", FEATURES),
    "features_lost": Remedy("The online store is lost or incomplete", FEATURES),
    "features_stale": Remedy("The online features are stale", FEATURES),
    "flow_failed": Remedy("A flow failed", "docker compose logs --tail 100 worker"),
    "labels_late": Remedy("The labels of a slice are late", "mlops ingest"),
    "latency_high": Remedy("The service is slow", f"{RESTART} --scale api=N"),
    "latency_level": Remedy("Predictions are slower than promised", f"{RESTART} --scale api=N"),
    "monitoring_stale": Remedy("Monitoring has not run", "mlops monitor"),
    "no_model_served": Remedy("A replica has no model", REPAIR),
    "part_down": Remedy("A part does not work", f"{RESTART} PART"),
    "prediction_drift": Remedy("The predictions have drifted", TRAIN),
    "predictions_uncounted": Remedy("Many predictions are no decisions; ask their client"),
    "predictions_not_logged": Remedy("The log can't be written", "mlops clean"),
    "release_not_taken_up": Remedy("A replica serves an older release", REPAIR),
    "replica_missing": Remedy("A replica is missing", f"{RESTART} --scale api=N"),
    "retraining_failed": Remedy("The newest retraining failed", TRAIN),
    "retraining_overdue": Remedy("A retraining has not finished", "docker compose restart worker"),
    "rows_quarantined": Remedy("Validation quarantines many rows", INGEST_AGAIN),
    "target_down": Remedy("A target has no metrics", f"{RESTART} PART"),
    "watch_failing": Remedy("The watch can't read something", "mlops doctor"),
    "worker_away": Remedy("No worker runs the flows", f"{RESTART} worker"),
}

SECTIONS = {
    "The service": SERVICE, "Releases and the record": RELEASE, "The home": HOME,
    "Monitoring and retraining": MONITORING, "Rollout": ROLLOUT, "Alerts": ALERTS,
}  # fmt: skip
REMEDIES = {code: remedy for section in SECTIONS.values() for code, remedy in section.items()}


def code_of(name: str) -> str:
    """Return the code of an alert's name (`PartDown`) or of a body's `error` (`not ready`)."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])| ", "_", name).lower()


def describe_error(error: Exception) -> str:
    """Return the error's text, with its code and remedy if it has any."""
    code = error.code if isinstance(error, LoopError) else ""
    command = remedy_command(code)
    return f"{error}{code and f' [{code}]'}{command and f' Remedy: {command}'}"


def remedy_command(code: str) -> str:
    """Return the command that mends the code's state; empty if there is none."""
    return REMEDIES[code].command if code in REMEDIES else ""
