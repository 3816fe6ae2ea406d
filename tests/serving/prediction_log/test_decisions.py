"""Only decisions on time count: by route, client, and time against the case's decision time."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.prediction_log.decisions import LIMITS, read_decisions, split_decisions
from serving.prediction_log.reader import read_predictions
from settings import Settings, UserError
from tests.serving.prediction_log.sample_records import NOON, record, write_log
from tests.slice_params import shipped_params
from tests.use_case import USE_CASE

PARAMS: dict[str, Any] = shipped_params()
HOUR = timedelta(hours=1)


def asked(name: str, clock: float | None, store: float | None, **changes: Any) -> dict[str, Any]:
    """Return a record asked by both clocks at these hours after its decision time."""
    times = {
        column: None if hours is None else NOON + hours * HOUR
        for column, hours in (("asked_at", clock), ("published_until", store))
    }
    return record(name, route="/predict", client="predict", **times, **changes)


def split(folder: Path, *records: dict[str, Any], **limits: Any) -> tuple[set[str], dict[str, int]]:
    write_log(folder, *records)
    params = {"monitoring": {"decisions": PARAMS["monitoring"]["decisions"] | limits}}
    counted, uncounted = split_decisions(read_predictions(USE_CASE, folder), params)
    return set(counted["request_id"]), uncounted


@pytest.mark.parametrize(
    ("clock", "store", "reason"),
    [
        (0, 0, None), (1.9, 1.9, None), (-1.9, -1.9, None),
        (3, 3, "late"), (3, None, "late"), (None, 3, "late"),
        (-3, -3, "early"), (-3, None, "early"), (None, -3, "early"),
        (72, -0.5, None),  # a replay that continues after three days
        (0, -30, None),  # the features are published late
        (72, 72, "late"), (-30, -31, "early"), (None, None, None),
    ],
)  # fmt: skip
def test_an_answer_is_late_or_early_if_all_known_clocks_say_so(
    clock: float | None, store: float | None, reason: str | None, tmp_path: Path
) -> None:
    counted, uncounted = split(tmp_path, asked("it", clock, store))
    assert (counted, uncounted) == ((set(), {reason: 1}) if reason else ({"it"}, {}))


def test_routes_and_clients_that_do_not_decide_are_counted_apart(tmp_path: Path) -> None:
    records = [
        asked("decided", 0, 0),
        asked("scored", 0, 0) | {"route": "/score"},
        asked("batch", 0, 0) | {"route": "/predict_batch"},
        asked("other", 0, 0) | {"client": "somebody"},
        asked("both", 0, 90) | {"client": "somebody", "route": "/score"},
    ]
    assert split(tmp_path / "shipped", *records) == ({"decided", "batch", "other"}, {"route": 2})
    counted, uncounted = split(tmp_path / "clients", *records, clients=["predict"])
    assert (counted, uncounted) == ({"decided", "batch"}, {"route": 2, "client": 1})
    counted, uncounted = split(tmp_path / "scores", *records, routes=["/score"])
    assert (counted, uncounted) == ({"scored", "both"}, {"route": 3})


def test_records_of_an_older_version_count(tmp_path: Path) -> None:
    assert split(tmp_path, record("old")) == ({"old"}, {})


@pytest.mark.parametrize("absent", LIMITS)
def test_a_missing_setting_is_named(absent: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    params = PARAMS | {"monitoring": dict(PARAMS["monitoring"])}
    params["monitoring"]["decisions"] = {
        name: value for name, value in PARAMS["monitoring"]["decisions"].items() if name != absent
    }
    settings.params_file.parent.mkdir(parents=True)
    settings.params_file.write_text(yaml.safe_dump(params))
    with pytest.raises(UserError, match=f"missing: {absent}"):
        split_decisions(read_predictions(USE_CASE, tmp_path), params)
    assert read_decisions(settings).empty  # the file lacks it, so its default holds
    shipped = PARAMS["monitoring"]["decisions"][absent]
    assert settings.params()["monitoring"]["decisions"][absent] == shipped
    params["monitoring"]["decisions"][f"{absent}s"] = shipped
    settings.params_file.write_text(yaml.safe_dump(params))
    with pytest.raises(UserError, match=rf"monitoring.decisions.{absent}s: no parameter has this"):
        read_decisions(settings)
