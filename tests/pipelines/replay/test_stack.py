"""Replays on a running stack: refusal of a used stack, and resumption of an own replay."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from features import durable_files
from pipelines.replay import served_record, served_replay
from pipelines.runtime.stage_command import parse_time
from serving.prediction_log.writer import PredictionLog
from serving.release.document import Release, ServedModel, write_release
from settings import Settings, UserError
from tests import slice_params

FIRST, END = parse_time(slice_params.FIRST), parse_time(slice_params.END)
Disturb = Callable[[Settings], Any]


@pytest.fixture
def stack(tmp_path: Path) -> Settings:
    """The settings of a container beside an empty stack."""
    settings = Settings(
        home=tmp_path, prefect_url="http://prefect:4200/api", service_url="http://proxy:8080"
    )
    settings.params_file.parent.mkdir(parents=True)
    settings.params_file.write_text(yaml.safe_dump(slice_params.month_params()))
    return settings


def release_version(settings: Settings) -> None:
    served = ServedModel("7", "0" * 64, "../models/7/served", 0.2)
    write_release(settings, Release(1, served, datetime.now(UTC)))


def trained(settings: Settings, as_of: str) -> None:
    path = settings.state / "training" / "some"
    path.mkdir(parents=True)
    outcome = {"as_of": f"{as_of}T00:00:00+00:00", "concluded_at": "2026-01-01T00:00:00+00:00"}
    (path / "outcome.json").write_text(json.dumps(outcome))


def monitored(settings: Settings, as_of: str) -> None:
    path = settings.state / "monitoring" / "some.json"
    durable_files.write_json(path, {"as_of": f"{as_of}T05:30:00+00:00"})


def predicted(settings: Settings, at: str) -> None:
    log, moment_of = PredictionLog(settings.predictions), parse_time(at)
    log.append({
        "request_id": "a", "key": "a", "probability": 0.5, "decision": True, "model_version": "7",
        "model_digest": "0" * 64, "decision_time": moment_of, "features_as_of": moment_of,
        "logged_at": datetime.now(UTC), "request": {}, "features": {},
    })  # fmt: skip
    log.close()


def other_parameters(settings: Settings) -> None:
    params = slice_params.month_params()
    params["monitoring"]["policy"]["max_calibration_gap"] = 0.3
    settings.params_file.write_text(yaml.safe_dump(params))


def test_a_stack_is_recognised_by_its_servers(stack: Settings, tmp_path: Path) -> None:
    assert served_replay.uses_running_stack(stack)
    assert not served_replay.uses_running_stack(Settings(home=tmp_path))
    assert not served_replay.uses_running_stack(
        Settings(home=tmp_path, service_url="http://proxy:8080")
    )


def test_a_replay_resumes_its_own_stack(stack: Settings) -> None:
    served_replay.claim_stack(stack, FIRST)
    # Killed on its first day, after the training and some of the cases.
    release_version(stack)
    trained(stack, slice_params.FIRST)
    predicted(stack, slice_params.FIRST)
    served_replay.claim_stack(stack, FIRST)
    served_record.append_day_record(
        served_record.records_folder(stack), {"day": slice_params.FIRST}
    )
    served_replay.claim_stack(stack, FIRST)


def test_a_stack_used_without_a_replay_is_refused(stack: Settings) -> None:
    release_version(stack)
    with pytest.raises(UserError, match="Version 7 is released on this stack, but not by a replay"):
        served_replay.claim_stack(stack, FIRST)
    assert not (stack.state / "replay").exists()


@pytest.mark.parametrize(
    ("disturb", "refusal"),
    [
        (lambda stack: trained(stack, "2013-01-21"), "trained as of 2013-01-21"),
        (lambda stack: monitored(stack, "2013-01-20"), "monitored as of 2013-01-20T05:30"),
        (lambda stack: predicted(stack, "2013-01-22"), "1 cases predicted up to 2013-01-22"),
        (other_parameters, "with other parameters"),
    ],
)
def test_a_stack_that_continued_without_the_replay_is_refused(
    stack: Settings, disturb: Disturb, refusal: str
) -> None:
    served_replay.claim_stack(stack, FIRST)
    served_record.append_day_record(
        served_record.records_folder(stack), {"day": slice_params.FIRST}
    )
    disturb(stack)
    with pytest.raises(UserError, match=refusal):
        served_replay.claim_stack(stack, FIRST)


def test_another_replay_is_refused(stack: Settings) -> None:
    served_replay.claim_stack(stack, FIRST)
    with pytest.raises(UserError, match="from 2013-01-19, not 2013-01-20"):
        served_replay.claim_stack(stack, parse_time("2013-01-20"))


def test_a_stack_has_one_policy(stack: Settings) -> None:
    with pytest.raises(UserError, match="has one policy"):
        served_replay.replay_on_stack(stack, FIRST, END, ["never"])
