"""The metrics of the loop: a sample of one, and the help text of each."""

from collections.abc import Mapping
from typing import NamedTuple

LOOP_METRIC_HELP = {
    "champion_info": "The released version",
    "release_generation": "Generation of the release document; 0 without one",
    "release_changed_timestamp_seconds": "Time of the last change of the release",
    "world_timestamp_seconds": "Current time in the world of the data",
    "features_complete": "Whether the online store holds a complete publication",
    "features_until_timestamp_seconds": "Time up to which the online store is published",
    "batches_missing": "Batches that are due and not validated",
    "batches_refused": "Batches that validation refused as a whole",
    "quarantined_rows": "Rows in quarantine",
    "rows_quarantined": "Rows in quarantine of a feed's newest batch",
    "rows_restated": "Rows of a feed's last validated batches whose key an earlier batch stated",
    "rows_quarantined_limit": "Limit of quarantined rows above which a person should look",
    "monitoring_as_of_timestamp_seconds": "as_of of the newest monitoring result",
    "monitoring_retrain": "Whether the newest result asks for a retraining",
    "monitoring_decision": "Whether it asks for a retraining, by the codes of its reasons",
    "monitoring_problems": "Checks of the newest result that could not run, and missing labels",
    "trigger_value": "Value of a retraining trigger",
    "trigger_limit": "Limit of a retraining trigger",
    "trigger_fired": "Whether a trigger is over its limit",
    "cost_per_1000": "Cost per 1,000 predictions: live, expected, estimated for the last week",
    "calibration_gap": "Gap between mean prediction and mean label, live and expected",
    "cost_bound": "Live cost per 1,000 predictions, with its 90% interval over days",
    "bias": "Mean prediction minus mean label, with its 90% interval over days",
    "saving": "Share saved of the best constant answer's cost, with its 90% interval over days",
    "slice_cost_per_1000": "Cost per 1,000 of a slice, with its 90% interval over days",
    "slice_bias": "Mean prediction minus mean label of a slice, with its 90% interval over days",
    "slice_labels_missing": "Share of the newest day's due labels that a slice lacks",
    "label_delay_hours": "Median hours from decision to label",
    "label_coverage": "Share of the window's predictions with due labels that have one",
    "label_coverage_limit": "Coverage below which labels count as missing",
    "predictions_uncounted": "Predictions of the window that were no decisions on time, by reason",
    "uncounted_share": "Their share of the window's predictions",
    "uncounted_share_limit": "Share above which a person should look",
    "prediction_distance": "Distance of the probabilities from the reference window",
    "prediction_distance_limit": "Distance above which predictions count as drifted",
    "training_as_of_timestamp_seconds": "as_of of the newest concluded training",
    "training_concluded_timestamp_seconds": "End of the newest concluded training",
    "training_promoted": "Whether its version was released, as champion or shadow",
    "flow_failed": "Whether the newest finished run of a flow failed or crashed",
    "flow_runs_late": "Flow runs that are due and have not started",
    "alert_event_age_seconds": "Age of the oldest alert without a Prefect event; 0 if none",
    "prediction_log_bytes": "Size of all files of the prediction log",
    "prediction_log_segments": "Files of the prediction log",
    "price_per_cpu_hour": "Price of one core for an hour, from params.yaml",
    "disk_free_bytes": "Free space on the disk of a volume",
    "disk_size_bytes": "Size of the disk of a volume",
}


class MetricSample(NamedTuple):
    """One line of /metrics; `name` without the prefix, one of `LOOP_METRIC_HELP`."""

    name: str
    value: float | None  # None: unknown, and left out of /metrics
    labels: Mapping[str, str] = {}
