"""Recipe stage: the training set, with a point-in-time join of cases, features and labels."""

from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from features import durable_files, partitions
from features.validated_cases import add_labels, read_cases, read_labels
from pipelines.runtime import stage_command
from settings import LoopError, Settings


def assemble_training_set(settings: Settings, as_of: datetime) -> dict[str, Any]:
    """Write the cases whose label was known before `as_of` to `data/<name>/training/`.

    Each case has its features as of its decision time. If a case has several labels, the newest
    known by `as_of` counts, with its `known_at`. Return the manifest. Raise `LoopError` if there
    are no batches, or if training or holdout would be empty.
    """
    params = settings.params()
    days = date.fromisoformat(str(params["first_day"])), as_of.date() - timedelta(days=1)
    cases, labels = read_cases(settings, *days), read_labels(settings, *days)
    if cases.empty or labels.empty:
        raise LoopError(
            f"There are no validated batches from {days[0]} to {days[1]} in {settings.data}. "
            "Run `mlops ingest` first."
        )
    horizon = settings.use_case.horizon
    cases = add_labels(cases, labels, horizon, as_of).dropna(subset="label")
    cases = cases.astype({"label": "int8"})
    frame = join_features(settings, cases.sort_values(["decision_time", "key"], ignore_index=True))
    start = holdout_start(params, as_of, horizon)
    manifest = training_manifest(frame, as_of, start)
    if not manifest["n_train"] or not manifest["n_holdout"]:
        raise LoopError(
            f"Training or holdout has no cases, with a holdout from {start}: {manifest}."
        )
    folder = settings.data / "training"
    partitions.write_partition(frame, folder / "training.parquet")
    durable_files.write_json(folder / "manifest.json", manifest)
    return manifest


def join_features(settings: Settings, cases: pd.DataFrame) -> pd.DataFrame:
    """Return the cases with their features as of their decision; label and `known_at` stay."""
    from features.point_in_time import training_frame

    features = training_frame(settings, cases.drop(columns=["label", "known_at"]))
    return features.merge(cases[["key", "label", "known_at"]], on="key", validate="1:1")


def training_manifest(frame: pd.DataFrame, as_of: datetime, start: datetime) -> dict[str, Any]:
    """Return the facts of the training set that the gates need besides its cases."""
    return {
        "as_of": as_of.isoformat(),
        "holdout_start": start.isoformat(),
        "n_train": int((frame["known_at"] < start).sum()),
        "n_holdout": int((frame["decision_time"] >= start).sum()),
        "newest_label": frame["known_at"].max().isoformat(),
    }


def holdout_start(
    params: dict[str, Any], as_of: datetime, horizon: timedelta,
    data_until: datetime | None = None,
) -> datetime:  # fmt: skip
    """Return the time (UTC) from which on no candidate sees a case.

    If there is a champion, which knows the data before `data_until`, it is the middle of the time
    since then: candidates train through the first half, and both are scored on the second. Labels
    count from the horizon on, so both ends lie that far back.
    """
    if data_until is not None:
        return data_until + (as_of - data_until) / 2 - horizon
    configured = params["training"].get("holdout_start")  # set in a workspace with a champion
    if configured:
        return stage_command.parse_time(configured, "training.holdout_start")
    return as_of - horizon - timedelta(days=params["training"]["holdout_days"])


def split_holdout(
    frame: pd.DataFrame, manifest: dict[str, Any]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (train, holdout): labels known before the holdout's start, decisions from it on."""
    start = stage_command.parse_time(manifest["holdout_start"])
    return (
        frame[frame["known_at"] < start].reset_index(drop=True),
        frame[frame["decision_time"] >= start].reset_index(drop=True),
    )


if __name__ == "__main__":
    stage_command.run_stage_command(assemble_training_set)
