"""Which data and stores must the gates refuse, however good the model?"""

from __future__ import annotations

import shutil
from datetime import timedelta

from features import durable_files, partitions
from pipelines.evaluation.gates.verdict import Verdict
from pipelines.proofs.base_training import Ground, home_of, inside
from pipelines.proofs.gate_case import Case, made_from
from settings import Settings


def data_of_another_md5(ground: Ground) -> list[Verdict]:
    """One label of the training set was changed after it was put on record."""
    path = ground.scratch / "changed"
    shutil.copytree(ground.settings.home / "data", path / "data", copy_function=link)
    labels = ground.frame["label"].to_numpy().copy()
    labels[0] = 1 - labels[0]
    target = path / "data" / "training" / "training.parquet"
    partitions.write(ground.frame.assign(label=labels), target)
    shutil.copytree(ground.settings.home / "usecase", path / "usecase")
    return made_from(ground, ground.sources(path=path))


def stale_online(ground: Ground) -> list[Verdict]:
    """The online store was last published days ago."""
    from features.online_publisher import publish

    late = timedelta(hours=ground.params["gates"]["sources"]["max_online_lag_hours"] + 24)
    own = other_home(ground, "stale")
    with inside(own):
        publish(own, ground.as_of - late)
    return made_from(ground, ground.sources(settings=own))


def lost_publication(ground: Ground) -> list[Verdict]:
    """The store's record says that all is published; the last hour never reached the store."""
    from features.online_publisher import Publisher, publish
    from features.publication_record import text

    own, before = other_home(ground, "lost"), ground.as_of - timedelta(hours=1)
    with inside(own):
        publish(own, before)
        # After `as_of` and by `as_of` there is no row: this moves the record alone.
        Publisher(own, ground.as_of, ground.as_of, stood=text(before)).step(ground.as_of)
    return made_from(ground, ground.sources(settings=own))


def other_home(ground: Ground, name: str) -> Settings:
    """A home with the ground's data and an online store of its own."""
    own = home_of(ground.scratch / name)
    shutil.copytree(ground.settings.home / "data", own.home / "data", copy_function=link)
    shutil.copytree(ground.settings.home / "usecase", own.home / "usecase")
    return own


def link(one: str, other: str) -> None:
    """Partitions are replaced and never written to, so a link is as good as a copy; notes are."""
    (durable_files.link_or_copy if one.endswith(partitions.SUFFIX) else shutil.copy)(one, other)


CASES = (
    Case("data of another md5", "data are those recorded", data_of_another_md5),
    Case("online features of days ago", "online as offline", stale_online),
    Case("a lost publication", "online as offline", lost_publication),
)  # fmt: skip
