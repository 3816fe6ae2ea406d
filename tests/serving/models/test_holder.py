"""The holder serves the last good release, and swaps champion and challenger together."""

import json
import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline

from serving.models.evaluator import export_model
from serving.models.holder import ModelHolder
from serving.release.document import (
    Challenger,
    Release,
    ServedModel,
    document_fields,
    last_good_file,
    write_release,
)
from serving.release.signatures import sign_json
from settings import Settings

FEATURES = ["region", "product", "amount", "age", "visits"]


class Releases:
    """Writes a release document over exported models; each release has the next generation."""

    def __init__(self, root: Path) -> None:
        self.settings = Settings(home=root)
        self.file = self.settings.release_file
        self.models = self.settings.state / "models"
        self.generation = 0

    def export(self, model: Pipeline, version: str) -> ServedModel:
        digest = export_model(model, self.models / version)
        return ServedModel(version, digest, f"../models/{version}", 0.2)

    def release(
        self, model: Pipeline, version: str, challenger: ServedModel | None = None
    ) -> Release:
        self.generation += 1
        now = datetime.now(UTC)
        canary = Challenger(challenger, "canary", 10, now) if challenger else None
        release = Release(self.generation, self.export(model, version), now, canary)
        write_release(self.settings, release)
        return release


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    return Releases(tmp_path)


def served(holder: ModelHolder) -> str | None:
    return None if holder.current is None else holder.current.release.champion.version


def test_without_a_release_there_is_no_model(releases: Releases, trees: Pipeline) -> None:
    holder = ModelHolder(releases.settings)
    assert served(holder) is None
    assert "No model is released yet" in str(holder.problem)
    releases.release(trees, "1")
    assert holder.refresh() is True
    assert (served(holder), holder.problem) == ("1", None)


def test_swaps_release_and_model_together(
    releases: Releases, trees: Pipeline, linear: Pipeline, accounts: pd.DataFrame
) -> None:
    releases.release(trees, "1")
    holder = ModelHolder(releases.settings)
    before = holder.current
    assert holder.refresh() is False
    assert holder.current is before

    second = releases.release(linear, "2")
    assert holder.refresh() is True
    assert before is not None
    assert before.release.champion.version == "1"  # a request under way keeps its release
    assert holder.current is not None
    assert holder.current.release == second
    rows = accounts[FEATURES]
    expected = linear.predict_proba(rows)[:, 1]
    assert (holder.current.champion.predict_frame(rows) == expected).all()


def test_a_change_within_the_same_time_size_and_inode_is_noticed(
    releases: Releases, trees: Pipeline
) -> None:
    first = releases.release(trees, "1")
    holder = ModelHolder(releases.settings)
    before = releases.file.stat()
    second = replace(first, champion=replace(first.champion, threshold=0.3))
    text = sign_json(releases.settings, "release", document_fields(second))
    with releases.file.open("r+") as file:
        file.write(text)
    os.utime(releases.file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = releases.file.stat()
    assert (after.st_mtime_ns, after.st_size, after.st_ino) == (
        before.st_mtime_ns, before.st_size, before.st_ino,
    )  # fmt: skip
    assert holder.refresh() is True
    assert holder.current is not None
    assert holder.current.release.champion.threshold == 0.3


def test_broken_release_keeps_the_last_good_model(releases: Releases, trees: Pipeline) -> None:
    releases.release(trees, "1")
    holder = ModelHolder(releases.settings)

    releases.file.write_text("{")
    assert holder.refresh() is False
    assert (served(holder), holder.problem is None) == ("1", False)

    releases.release(trees, "2")
    assert holder.refresh() is True
    assert (served(holder), holder.problem) == ("2", None)

    tampered = releases.models / "3" / "model.treelite"
    releases.release(trees, "3")
    content = tampered.read_bytes()
    tampered.write_bytes(content[:-1])
    assert holder.refresh() is False
    assert served(holder) == "2"
    assert "digest" in str(holder.problem)

    tampered.write_bytes(content)  # the same document, but now its files are whole
    assert holder.refresh() is True
    assert (served(holder), holder.problem) == ("3", None)

    aside = releases.file.rename(releases.file.with_name("aside"))
    assert holder.refresh() is False
    assert served(holder) == "3"
    assert "No model is released" in str(holder.problem)

    aside.rename(releases.file)
    assert holder.refresh() is False
    assert (served(holder), holder.problem) == ("3", None)


def test_a_service_that_starts_with_a_damaged_document_serves_the_last_good_one(
    releases: Releases, trees: Pipeline
) -> None:
    releases.release(trees, "1")
    signed = releases.file.read_text()
    for damaged in ("{", signed.replace('"threshold": 0.2', '"threshold": 0.9')):
        releases.file.write_text(damaged)
        holder = ModelHolder(releases.settings)
        assert holder.current is not None
        assert holder.current.release.champion.threshold == 0.2
        assert "The last good release answers" in str(holder.problem)
        assert holder.refresh() is False
        assert holder.problem is not None
    last_good_file(releases.file).write_text(damaged)
    assert "not followed: it was changed" in str(ModelHolder(releases.settings).problem)
    assert served(ModelHolder(releases.settings)) is None
    releases.file.write_text(signed)
    assert holder.refresh() is True  # the same release, without the problem
    assert holder.problem is None


def test_a_model_of_other_features_is_refused(releases: Releases, trees: Pipeline) -> None:
    releases.release(trees, "1")
    holder = ModelHolder(releases.settings, features=FEATURES[:-1])
    assert served(holder) is None
    assert "visits" in str(holder.problem)
    assert served(ModelHolder(releases.settings, features=[*FEATURES, "more"])) == "1"


def test_champion_and_challenger_change_together(
    releases: Releases, trees: Pipeline, linear: Pipeline
) -> None:
    second = releases.export(linear, "2")
    releases.release(trees, "1", second)
    holder = ModelHolder(releases.settings)
    assert holder.current is not None
    first = holder.current
    assert first.challenger is not None
    releases.release(linear, "2")
    assert holder.refresh() is True
    assert (served(holder), holder.current.challenger) == ("2", None)
    assert holder.current.champion is first.challenger  # already in memory


def test_a_challenger_that_cannot_be_used_is_reported_and_the_champion_answers_alone(
    releases: Releases, trees: Pipeline, linear: Pipeline
) -> None:
    second = releases.export(linear, "2")
    releases.release(trees, "1")
    holder = ModelHolder(releases.settings)
    file = releases.models / "2" / "model.skops"
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    releases.release(trees, "1", second)
    assert holder.refresh() is True
    assert holder.current is not None
    assert (served(holder), holder.current.challenger) == ("1", None)
    assert "challenger can't be used" in str(holder.problem)
    assert "digest" in str(holder.problem)
    assert holder.refresh() is False

    file.write_bytes(content)  # without a new release: its files have arrived
    assert holder.refresh() is True
    assert holder.current.challenger is not None
    assert holder.problem is None


def test_a_challenger_of_other_features_leaves_the_champion_alone(
    releases: Releases, trees: Pipeline, accounts: pd.DataFrame
) -> None:
    columns = ["amount", "age"]
    narrow = Pipeline([("boosting", HistGradientBoostingClassifier(max_iter=2))])
    narrow.fit(accounts[columns], accounts["label"])
    releases.release(narrow, "1", releases.export(trees, "2"))
    holder = ModelHolder(releases.settings, features=columns)
    assert holder.current is not None
    assert (served(holder), holder.current.challenger) == ("1", None)
    assert "region" in str(holder.problem)


def test_polling_takes_up_a_release(releases: Releases, trees: Pipeline) -> None:
    holder = ModelHolder(releases.settings)
    holder.start(every=0.02)
    try:
        releases.release(trees, "1")
        deadline = time.monotonic() + 5
        while served(holder) is None and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        holder.stop()
    assert served(holder) == "1"
    releases.release(trees, "2")
    time.sleep(0.1)
    assert served(holder) == "1"  # the holder polls no more


def test_the_packaged_version_answers_until_a_release_is_available(
    tmp_path: Path, trees: Pipeline
) -> None:
    digest = export_model(trees, tmp_path / "packaged" / "served")
    packaged, settings = tmp_path / "packaged" / "release.json", Settings(home=tmp_path)
    now = datetime.now(UTC)
    alone = Release(3, ServedModel("7", digest, "served", 0.5), now)
    packaged.write_text(json.dumps(document_fields(alone)))
    holder = ModelHolder(settings, packaged=packaged)
    assert holder.current is not None
    assert (holder.current.release.champion.version, holder.current.fallback) == ("7", True)
    assert "packaged version answers" in str(holder.problem)
    assert not holder.refresh(), "the same release is no change"
    path = str(tmp_path / "packaged" / "served")
    write_release(settings, Release(4, ServedModel("8", digest, path, 0.5), now))
    assert holder.refresh()
    settings.release_file.unlink()
    holder.refresh()  # keeps a release once loaded, rather than the older package
    assert (holder.current.release.champion.version, holder.current.fallback) == ("8", False)
