"""Which data and stores must the gates refuse, however good the model?"""

from __future__ import annotations

import shutil
from datetime import timedelta

from features import durable_files, partitions
from pipelines.evaluation.gates.verdict import Verdict
from pipelines.proofs.base_training import BaseTraining, home_environment, isolated_settings
from pipelines.proofs.gate_case import GateCase, judge_sources
from settings import Settings


def data_of_another_md5(ground: BaseTraining) -> list[Verdict]:
    """One label of the training set was changed after it was put on record."""
    path = ground.scratch / "changed"
    shutil.copytree(ground.settings.home / "data", path / "data", copy_function=link_or_copy_file)
    labels = ground.frame["label"].to_numpy().copy()
    labels[0] = 1 - labels[0]
    target = path / "data" / "training" / "training.parquet"
    partitions.write_partition(ground.frame.assign(label=labels), target)
    shutil.copytree(ground.settings.home / "usecase", path / "usecase")
    return judge_sources(ground, ground.sources(path=path))


def stale_online(ground: BaseTraining) -> list[Verdict]:
    """The online store was last published days ago."""
    from features.online_publisher import publish_features

    late = timedelta(hours=ground.params["gates"]["sources"]["max_online_lag_hours"] + 24)
    own = other_home(ground, "stale")
    with home_environment(own):
        publish_features(own, ground.as_of - late)
    return judge_sources(ground, ground.sources(settings=own))


def lost_publication(ground: BaseTraining) -> list[Verdict]:
    """The store's record says that all is published; the last hour never reached the store."""
    from features.online_publisher import Publisher, publish_features
    from features.publication_record import record_text

    own, before = other_home(ground, "lost"), ground.as_of - timedelta(hours=1)
    with home_environment(own):
        publish_features(own, before)
        # After `as_of` and by `as_of` there is no row: this moves the record alone.
        Publisher(own, ground.as_of, ground.as_of, expected_record=record_text(before)).step(
            ground.as_of
        )
    return judge_sources(ground, ground.sources(settings=own))


def other_home(ground: BaseTraining, name: str) -> Settings:
    """A home with the ground's data and an online store of its own."""
    own = isolated_settings(ground.scratch / name)
    shutil.copytree(
        ground.settings.home / "data", own.home / "data", copy_function=link_or_copy_file
    )
    shutil.copytree(ground.settings.home / "usecase", own.home / "usecase")
    return own


def link_or_copy_file(one: str, other: str) -> None:
    """Partitions are replaced and never written to, so a link is as good as a copy; notes are."""
    (durable_files.link_or_copy if one.endswith(partitions.SUFFIX) else shutil.copy)(one, other)


BAD_SOURCES = (
    GateCase("data of another md5", "data are those recorded", data_of_another_md5),
    GateCase("online features of days ago", "online as offline", stale_online),
    GateCase("a lost publication", "online as offline", lost_publication),
)  # fmt: skip
