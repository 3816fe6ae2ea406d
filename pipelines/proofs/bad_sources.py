"""Bad data and stores that the source gates must refuse, however good the model."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from features import partitions
from pipelines.proofs.base_training import BaseTraining
from pipelines.proofs.gate_case import GateCase, Subject
from pipelines.proofs.isolated_home import copy_home, home_environment


def data_of_another_md5(training: BaseTraining) -> Iterator[Subject]:
    """Change one label of the training set after its md5 was recorded."""
    path = copy_home(training.settings, training.scratch / "changed").home
    labels = training.frame["label"].to_numpy().copy()
    labels[0] = 1 - labels[0]
    target = path / "data" / "training" / "training.parquet"
    partitions.write_partition(training.frame.assign(label=labels), target)
    yield training.training_sources(path=path)


def stale_online(training: BaseTraining) -> Iterator[Subject]:
    """Publish the online store only up to some days ago."""
    from features.online_publisher import publish_features

    late = timedelta(hours=training.params["gates"]["sources"]["max_online_lag_hours"] + 24)
    own = copy_home(training.settings, training.scratch / "stale")
    with home_environment(own):
        publish_features(own, training.as_of - late)
    yield training.training_sources(settings=own)


def lost_publication(training: BaseTraining) -> Iterator[Subject]:
    """Record a complete publication whose last hour never reached the store."""
    from features.online_publisher import Publisher, publish_features
    from features.publication_record import record_text

    own = copy_home(training.settings, training.scratch / "lost")
    before = training.as_of - timedelta(hours=1)
    with home_environment(own):
        publish_features(own, before)
        # From `as_of` to `as_of` there is no row, so this only moves the record.
        record = record_text(before)
        Publisher(own, training.as_of, training.as_of, expected_record=record).step(training.as_of)
    yield training.training_sources(settings=own)


BAD_SOURCES = (
    GateCase("data of another md5", "data are those recorded", data_of_another_md5),
    GateCase("online features of days ago", "online as offline", stale_online),
    GateCase("a lost publication", "online as offline", lost_publication),
)  # fmt: skip
