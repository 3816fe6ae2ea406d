"""Bad data and stores that the source gates must refuse, however good the model."""

from __future__ import annotations

import shutil
from datetime import timedelta

from features import partitions
from pipelines.evaluation.gates.verdict import Verdict
from pipelines.proofs.base_training import BaseTraining
from pipelines.proofs.gate_case import GateCase, judge_sources
from pipelines.proofs.isolated_home import copy_home, home_environment, link_or_copy_file


def data_of_another_md5(training: BaseTraining) -> list[Verdict]:
    """Change one label of the training set after its md5 was recorded."""
    path = training.scratch / "changed"
    shutil.copytree(training.settings.home / "data", path / "data", copy_function=link_or_copy_file)
    labels = training.frame["label"].to_numpy().copy()
    labels[0] = 1 - labels[0]
    target = path / "data" / "training" / "training.parquet"
    partitions.write_partition(training.frame.assign(label=labels), target)
    shutil.copytree(training.settings.home / "usecase", path / "usecase")
    return judge_sources(training, training.training_sources(path=path))


def stale_online(training: BaseTraining) -> list[Verdict]:
    """Publish the online store only up to some days ago."""
    from features.online_publisher import publish_features

    late = timedelta(hours=training.params["gates"]["sources"]["max_online_lag_hours"] + 24)
    own = copy_home(training.settings, training.scratch / "stale")
    with home_environment(own):
        publish_features(own, training.as_of - late)
    return judge_sources(training, training.training_sources(settings=own))


def lost_publication(training: BaseTraining) -> list[Verdict]:
    """Record a complete publication whose last hour never reached the store."""
    from features.online_publisher import Publisher, publish_features
    from features.publication_record import record_text

    own, before = (
        copy_home(training.settings, training.scratch / "lost"),
        training.as_of - timedelta(hours=1),
    )
    with home_environment(own):
        publish_features(own, before)
        # From `as_of` to `as_of` there is no row, so this only moves the record.
        Publisher(own, training.as_of, training.as_of, expected_record=record_text(before)).step(
            training.as_of
        )
    return judge_sources(training, training.training_sources(settings=own))


BAD_SOURCES = (
    GateCase("data of another md5", "data are those recorded", data_of_another_md5),
    GateCase("online features of days ago", "online as offline", stale_online),
    GateCase("a lost publication", "online as offline", lost_publication),
)  # fmt: skip
