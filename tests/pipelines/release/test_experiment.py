"""Tests of experiments: the plan, its result and their audit entries."""

import os
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest

from pipelines.release import experiment, rollout_controller
from pipelines.release.audit import entry_store
from pipelines.runtime import clock
from settings import LoopError, Settings, UserError
from tests.pipelines.release.logged_cases import ME, START, Cases, control, serve, worse_score
from tests.released import audit_entries, served_release
from tests.remedied import run_remedy


def test_an_experiment_from_plan_to_recorded_result(home: Settings, cases: Cases) -> None:
    plan = {"percent": 50.0, "metric": "cost", "effect": 60.0, "by": "me", "why": "to know"}
    as_of = START + timedelta(days=2)
    with pytest.raises(UserError, match="wait for labels"):
        experiment.start_experiment(home, "2", days=2, as_of=as_of, **plan)
    serve(home, cases, 2)
    made_plan = experiment.start_experiment(home, "2", days=2, as_of=as_of, **plan)
    assert made_plan.days_needed > 2
    assert "too short" in experiment.describe_plan(made_plan)
    serve(home, cases, 4, worse_score, skip=2)
    _, early = experiment.experiment_status(home, START + timedelta(days=3.6))
    assert early.verdict == "early"
    _, result = experiment.experiment_status(home, START + timedelta(days=4.6))
    assert result.verdict != "early"
    assert result.interval.n == 2
    assert result.interval.mean > 100
    assert control(home, 4.6)["action"] == "stay"
    assert rollout_controller.start_rollout(home, "3", **ME)["code"] == "experiment_under_way"
    clock.advance_to(home, START + timedelta(days=4.6))
    with patch.dict(os.environ, {"MLOPS_HOME": str(home.home)}):
        run_remedy("experiment_under_way", home.home)
    entry = audit_entries(home)[-1]
    assert (entry.action, result.told in entry.why) == ("withdraw", True)
    assert served_release(home).challenger is None
    with pytest.raises(UserError, match="No experiment"):
        experiment.experiment_status(home, as_of)
    assert rollout_controller.start_rollout(home, "3", **ME)["stage"] == "shadow"


def test_a_changed_plan_gives_no_verdict(
    home: Settings, cases: Cases, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(home, cases, 2)
    as_of = START + timedelta(days=2)
    experiment.start_experiment(
        home, "2", percent=50, metric="cost", effect=50, days=2, as_of=as_of, **ME
    )
    written = entry_store.read_evidence
    monkeypatch.setattr(
        entry_store,
        "read_evidence",
        lambda *given: written(*given).replace('"effect": 50.0', '"effect": 5.0'),
    )
    with pytest.raises(LoopError, match="was changed after the start"):
        experiment.experiment_status(home, as_of)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"metric": "joy"}, "cost or brier"), ({"effect": 0.0}, "above 0"),
        ({"days": 1}, "no interval"), ({"percent": 100.0}, "between 0 and 100"),
    ],
)  # fmt: skip
def test_an_impossible_plan_is_refused(wrong: dict[str, Any], message: str, home: Settings) -> None:
    plan = {"percent": 50.0, "metric": "cost", "effect": 50.0, "days": 4, "as_of": START, **ME}
    with pytest.raises(UserError, match=message):
        experiment.start_experiment(home, "2", **{**plan, **wrong})
