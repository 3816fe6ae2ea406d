"""A mistake in `params.yaml` is named by file, key and bounds; nothing uses it."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from parameters import BOUNDS, complete_parameters
from pipelines.runtime.stage_command import parse_time
from settings import ParameterSection, Settings, UserError
from tests.use_case import copy_params


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return copy_params(Settings(home=tmp_path))


def leaves(section: dict[str, Any], *above: str) -> list[tuple[str, ...]]:
    found = []
    for name, value in section.items():
        if isinstance(value, dict):
            found += leaves(value, *above, name)
        found.append((*above, name))
    return found


def test_every_key_that_is_read_and_missing_is_named(settings: Settings) -> None:
    own = yaml.safe_load(settings.params_file.read_text())
    shipped = complete_parameters(settings.use_case, own)
    params = settings.params()
    assert params == shipped
    # Also in the copy of a workspace, which is written from what was read.
    assert yaml.safe_load(yaml.safe_dump(params)) == shipped
    for *above, name in leaves(shipped):
        section = copy.deepcopy(params)
        for each in above:
            section = section[each]
        del section[name]
        with pytest.raises(UserError, match=r"params\.yaml: " + ".".join([*above, name])):
            section[name]


def test_a_key_that_occurs_twice_is_refused(settings: Settings) -> None:
    text = settings.params_file.read_text()
    for addition in ("costs: {false_alarm: 1, miss: 4, threshold: 0.99}", "seed: 1"):
        settings.params_file.write_text(f"{text}\n{addition}\n")
        with pytest.raises(UserError, match="is there twice"):
            settings.params()
    settings.params_file.write_text(text.replace("  miss: 4.0", "  miss: 4.0\n  miss: 5.0"))
    with pytest.raises(UserError, match="'miss' is there twice"):
        settings.params()


@pytest.mark.parametrize("name", BOUNDS)
def test_a_value_out_of_its_bounds_is_refused(name: str, settings: Settings) -> None:
    *above, key = name.split(".")
    low, high = BOUNDS[name]
    for wrong in (low - 1, high + 1, "high", None, float("nan"), [], True):
        if wrong in (float("inf"), None, True):
            continue
        params = settings.params()
        section: ParameterSection = params
        for each in above:
            section = section[each]
        assert key in section
        section[key] = wrong
        other = Settings(home=settings.home / "other")
        (other.params_file).parent.mkdir(parents=True, exist_ok=True)
        other.params_file.write_text(yaml.safe_dump(params))
        with pytest.raises(UserError, match=f"{name} is "):
            other.params()


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_a_time_beyond_utc_is_no_time(text: str) -> None:
    with pytest.raises(UserError, match="not a time"):
        parse_time(text)


@pytest.mark.parametrize("url", ["http://[::1", "http://a]b"])
def test_a_malformed_address_is_refused(url: str) -> None:
    for name in ("service_url", "prefect_url", "tracking_uri", "staging_url", "evidently_url"):
        with pytest.raises(ValueError, match=name):
            Settings(**{name: url})
