"""A home with a champion, days of cases and their labels."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from features import partitions
from pipelines.proofs import challengers
from pipelines.release import rollout_controller
from settings import Settings
from tests.pipelines.release.logged_cases import DAYS, ME, START, Cases
from tests.released import make_registry
from tests.use_case import USE_CASE


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    """Version 1 is champion; five days of cases with scores, and the outcomes."""
    settings = make_registry(tmp_path_factory.mktemp("made") / "home")
    rollout_controller.start_rollout(settings, "1", **ME)
    for day in partitions.day_range(START.date(), (START + timedelta(days=DAYS)).date()):
        rows = USE_CASE.fetch(USE_CASE.label_feed, day)
        path = partitions.partition_path(settings.data, "validated", USE_CASE.label_feed, day)
        partitions.write_partition(rows, path)
    scored, _ = challengers.draw_scored_cases(USE_CASE, START, DAYS, settings.params())
    return settings, scored


@pytest.fixture
def home(cases: Cases, tmp_path: Path) -> Settings:
    return Settings(home=shutil.copytree(cases[0].home, tmp_path / "home"))
