"""The simulated clock starts at the parameters' `as_of`, advances, and follows a replay."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml

from pipelines.runtime import clock
from settings import Settings
from tests.use_case import PARAMS_FILE

START = datetime(2020, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def home(path: Path) -> Settings:
    settings = Settings(home=path)
    params = yaml.safe_load(PARAMS_FILE.read_text()) | {"as_of": START.isoformat()}
    settings.params_file.parent.mkdir(parents=True)
    settings.params_file.write_text(yaml.safe_dump(params))
    return settings


def test_it_starts_at_the_parameters_when_first_read_and_advances(tmp_path: Path):
    settings, first_read = home(tmp_path), datetime.now(UTC)
    assert clock.now(settings, first_read) == START
    assert clock.now(settings, first_read + HOUR) == START + HOUR
    assert clock.now(Settings(home=tmp_path), first_read + 2 * HOUR) == START + 2 * HOUR


def test_a_replay_moves_it_forward_and_never_back(tmp_path: Path):
    settings = home(tmp_path)
    clock.now(settings)
    clock.advance_to(settings, START + 24 * HOUR)
    assert clock.now(settings) >= START + 24 * HOUR
    clock.advance_to(settings, START + HOUR)
    assert clock.now(settings) >= START + 24 * HOUR
