"""Only what is past its retention is removed, by real or by simulated time."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pipelines.runtime import retention
from serving.prediction_log import reader, writer
from settings import Settings, UserError
from tests.use_case import USE_CASE, copy_params

NOW = datetime(2026, 11, 28, tzinfo=UTC)
AS_OF = datetime(2013, 4, 15, tzinfo=UTC)
MONITORED = (
    "reports/drift-2013-04-15.html", "reports/monitoring-2013-04-15.html",
    "evidently/a/snapshots/b.json",
)  # fmt: skip
KEPT = (
    "reports/year.html", "evidently/a/metadata.json", "monitoring/20130415T0000.json",
    "training/a/outcome.json", "training/a/data/training/x.parquet", "alerts/alerts.jsonl",
)  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return copy_params(Settings(home=tmp_path))


def write(settings: Settings, name: str, age: timedelta) -> Path:
    path = settings.var / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    written = (NOW - age).timestamp()
    os.utime(path, (written, written))
    return path


def test_files_go_when_they_are_older_than_their_age(settings: Settings) -> None:
    ages = settings.params()["retention"]
    hour = timedelta(hours=1)
    old, young = [], []
    for number, (name, days) in enumerate((
        *((name, ages["reports_days"]) for name in MONITORED),
        ("prefect/storage/a", ages["results_days"]),
    )):  # fmt: skip
        old.append(write(settings, name, timedelta(days=days) + hour))
        folder, _, last = name.rpartition("/")
        prefix, dash, rest = last.rpartition("-")
        other = f"{folder}/{prefix}{dash}{number}{rest}"
        young.append(write(settings, other, timedelta(days=days) - hour))
    kept = [write(settings, name, timedelta(days=9999)) for name in KEPT]
    done = retention.remove_expired(settings, AS_OF, NOW)
    assert done == {"results": 1, "reports": 3, "predictions": 0, "open": 0}
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in (*young, *kept))
    second_run = retention.remove_expired(settings, AS_OF, NOW)
    assert second_run == {"results": 0, "reports": 0, "predictions": 0, "open": 0}


def test_a_prediction_expires_by_simulated_time(settings: Settings) -> None:
    """The real age of its file does not matter."""
    decided = datetime(2013, 1, 3, tzinfo=UTC)
    log = writer.PredictionLog(settings.predictions)
    log.append(*[
        {
            "request_id": f"r{hour}", "key": "k", "probability": 0.5, "decision": True,
            "model_version": "1", "model_digest": "0", "features_as_of": None, "request": {},
            "decision_time": decided + timedelta(hours=hour), "logged_at": decided,
        }
        for hour in (-1, 1)
    ])  # fmt: skip
    log.close()
    keep = timedelta(days=settings.params()["monitoring"]["keep_days"])
    assert (
        retention.remove_expired(settings, decided + keep - timedelta(days=1), NOW)["predictions"]
        == 0
    )
    assert retention.remove_expired(settings, decided + keep, NOW)["predictions"] == 1
    assert [*reader.read_predictions(USE_CASE, settings.predictions)["request_id"]] == ["r1"]


@pytest.mark.parametrize("days", [0, -1, [], "a week"])
def test_an_invalid_age_removes_nothing(settings: Settings, days: object) -> None:
    params = settings.params()
    params["monitoring"]["keep_days"] = days
    settings.params_file.write_text(yaml.safe_dump(params))
    report = write(settings, MONITORED[0], timedelta(days=9999))
    with pytest.raises(UserError, match=r"monitoring\.keep_days is"):
        retention.remove_expired(settings, AS_OF, NOW)
    assert report.exists()


def test_the_command_prints_what_it_removed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.cli.main import app

    monkeypatch.setenv("MLOPS_HOME", str(settings.home))
    monkeypatch.chdir(settings.home)
    report = write(settings, MONITORED[0], timedelta(days=9999))
    done = CliRunner().invoke(app, ["clean", "--as-of", "2013-04-15"])
    assert done.exit_code == 0, done.output
    assert "Removed reports: 1, flow results: 0, predictions: 0." in done.output
    assert not report.exists()
