"""Fast replays of synthetic cases: decisions, resumption, and no use of future labels."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from features import durable_files, partitions
from pipelines.evaluation import evaluate
from pipelines.registry import refit, register
from pipelines.replay import (
    agreement,
    fast_replay,
    policies,
    served_record,
    simulated_day,
)
from pipelines.replay.replay_world import ReplayWorld, baseline_scores, train_model
from pipelines.replay.served_record import DAY
from pipelines.replay.simulated_day import predict_cases
from pipelines.training import assemble, train
from pipelines.training.training_files import TrainingFiles
from settings import LoopError, Settings, UserError
from tests import slice_params
from tests.use_case import CATEGORIES, FEATURES, NUMBERS, USE_CASE

START = datetime(2013, 1, 1, tzinfo=UTC)
FIRST = START + 14 * DAY
END = FIRST + 16 * DAY
PER_DAY = 150


def parameters() -> dict[str, Any]:
    params = slice_params.slice_params()
    params["gates"] |= {"min_train": 100, "min_holdout": 100, "max_auc": 1.0, "min_saving": -5.0,
                        "max_slice_ratio": 99.0, "storm_raises": -1.0, "calm_lowers": -1.0,
                        "tail_moves": 1.0}  # fmt: skip
    params["rollout"]["shadow"] |= {"min_labels": 100, "day_labels": 50}
    params["rollout"]["canary"]["min_requests"] = 5
    params["rollout"]["harm"]["max_moved"] = 1.0
    params["monitoring"]["policy"] |= {"max_calibration_gap": 0.1, "cool_down_days": 5}
    params["training"]["search"]["min_samples_leaf"] = [20]
    return params


def cases(n_days: int = 30, per_day: int = PER_DAY, *, shifted_from: int = 99) -> pd.DataFrame:
    """Cases whose label depends on one number; from day `shifted_from` on the odds are higher."""
    rng = np.random.default_rng(7)
    n = n_days * per_day
    frame = pd.DataFrame({name: rng.normal(size=n) for name in NUMBERS})
    for name in CATEGORIES:
        frame[name] = rng.choice(["a", "b"], size=n)
    frame["hour"] = rng.integers(0, 24, size=n).astype("float64")
    at = np.sort(rng.uniform(0, n_days, size=n))
    frame["decision_time"] = pd.Timestamp(START) + pd.to_timedelta(at, unit="D")
    frame["known_at"] = frame["decision_time"] + pd.Timedelta(hours=5)
    lift = np.where(at >= shifted_from, 1.5, 0.0)
    odds = 1.5 * frame[NUMBERS[0]] - 1.2 + lift
    frame["label"] = (rng.uniform(size=n) < 1 / (1 + np.exp(-odds))).astype("int8")
    frame["key"] = [f"case-{number}" for number in range(n)]
    return frame[["key", "decision_time", *FEATURES, "label", "known_at"]]


def make_world(folder: Path, frame: pd.DataFrame) -> ReplayWorld:
    labels = frame[["key", "label", "known_at"]]
    scores = baseline_scores(USE_CASE, frame, FIRST, END)
    return ReplayWorld(USE_CASE, frame, labels, scores, parameters(), folder / "models", FIRST)


def policy(*triggers: str, **changes: Any) -> dict[str, Any]:
    return {**parameters()["monitoring"]["policy"], "triggers": list(triggers), **changes}


@pytest.fixture(scope="module")
def scheduled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReplayWorld, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("replay")
    world = make_world(folder, cases())
    rule = policy("schedule", every_days=7)
    return (
        folder,
        world,
        fast_replay.replay_policy(folder / "own", world, "own", rule, END),
    )


def stage_a_training(home: Path, frame: pd.DataFrame, champion: Any) -> TrainingFiles:
    """Run the stages and the refit of a training as of a week after the champion's."""
    settings, as_of = Settings(home=home, workspace=None), FIRST + 7 * DAY
    params = parameters()
    start = assemble.holdout_start(params, as_of, USE_CASE.horizon, champion.as_of)
    params["training"]["holdout_start"] = start.isoformat()
    known = frame[frame["known_at"] < as_of]
    durable_files.write_file(settings.params_file, yaml.safe_dump(params))
    partitions.write_partition(known, settings.data / "training" / "training.parquet")
    durable_files.write_json(
        settings.data / "training" / "manifest.json",
        assemble.training_manifest(
            known, as_of, assemble.holdout_start(params, as_of, USE_CASE.horizon)
        ),
    )
    shutil.copytree(champion.served, settings.data / "champion" / "served")
    card = {"digest": champion.digest}
    durable_files.write_json(settings.data / "champion" / "card.json", card)
    train.train_candidates(settings, as_of)
    evaluate.evaluate_candidates(settings, as_of)
    return TrainingFiles(settings.root, settings.use_case)


def test_a_replayed_training_has_the_results_of_a_training(tmp_path: Path) -> None:
    """Verdicts, with their order and words, model and reference are those of the stages."""
    frame = cases()
    for name in ("decision_time", "known_at"):
        frame[name] = frame[name].dt.as_unit("us")  # as in Parquet
    world = make_world(tmp_path, frame)
    champion = train_model(world, FIRST, None)
    replayed = train_model(world, FIRST + 7 * DAY, champion)
    files = stage_a_training(tmp_path / "home", frame, champion)
    winner = files.gates["winner"]
    assert replayed.passed
    assert replayed.expected == files.metrics[winner]
    digest, verdicts = refit.refit_training(files)
    assert replayed.digest == digest
    timed = [each for each in verdicts if each["code"] != "fast_enough"]
    assert len(timed) == len(verdicts) - 1
    assert replayed.verdicts == files.gates["verdicts"][winner] + timed
    reference = register.reference_cases(files.holdout, files.scores[winner])
    pd.testing.assert_frame_equal(replayed.reference, reference)


def test_a_schedule_trains_a_model_that_becomes_champion(
    scheduled: tuple[Path, ReplayWorld, pd.DataFrame],
) -> None:
    _, _, days = scheduled
    trained = days.loc[days["trained"] > 0, "day"].tolist()
    assert trained[0] == f"{FIRST + 7 * DAY:%Y-%m-%d}"
    assert days["released"].sum() >= 1
    assert days.loc[days["released"] > 0, "rollout"].str.startswith("promote").all()
    assert days["champion"].iloc[-1] != days["champion"].iloc[0]
    assert days["n"].sum() == pytest.approx(PER_DAY * len(days), rel=0.1)


def test_a_day_holds_every_column_that_replays_are_compared_by(
    scheduled: tuple[Path, ReplayWorld, pd.DataFrame],
) -> None:
    _, _, days = scheduled
    assert set(agreement.COMPARED_COLUMNS) <= set(days)


def test_a_stopped_replay_resumes_with_the_same_days(
    scheduled: tuple[Path, ReplayWorld, pd.DataFrame],
) -> None:
    folder, world, days = scheduled
    whole = (folder / "own" / served_record.DAYS_FILE).read_text()
    lines = whole.splitlines(keepends=True)
    place = folder / "stopped"
    rule = policy("schedule", every_days=7)
    fast_replay.replay_policy(place, world, "own", rule, FIRST + DAY)
    # Stopped during the first canary, in the middle of writing a line.
    upto = next(n for n, line in enumerate(lines) if json.loads(line)["stage"] == "canary")
    (place / served_record.DAYS_FILE).write_text("".join(lines[: upto + 1]) + '{"day": "20')
    again = fast_replay.replay_policy(place, world, "own", rule, END)
    assert (place / served_record.DAYS_FILE).read_text() == whole
    assert again["cost"].tolist() == days["cost"].tolist()


def test_days_of_another_policy_are_discarded(
    scheduled: tuple[Path, ReplayWorld, pd.DataFrame], tmp_path: Path
) -> None:
    _, world, _ = scheduled
    fast_replay.replay_policy(tmp_path, world, "own", policy("schedule", every_days=7), FIRST + DAY)
    assert fast_replay.read_done_days(tmp_path, world.params, policy("schedule", every_days=7))
    assert fast_replay.read_done_days(tmp_path, world.params, policy()) == []


@pytest.mark.parametrize(
    "changed",
    [
        lambda: cases(),
        lambda: cases(per_day=2 * PER_DAY),
        lambda: cases().sample(frac=1, random_state=1).sort_values("decision_time",
                                                                   ignore_index=True),
    ],
    ids=["the same distribution", "bigger batches", "reordered rows"],
)  # fmt: skip
def test_a_benign_change_triggers_no_retraining(
    changed: Callable[[], pd.DataFrame], tmp_path: Path
) -> None:
    days = fast_replay.replay_policy(
        tmp_path, make_world(tmp_path, changed()), "own",
        policy("calibration", "drift", "missing"), END,
    )  # fmt: skip
    assert days["trained"].sum() == 0
    assert "calibration is quiet" in days["reason"].iloc[-1]  # the reason is recorded, too


def test_a_change_of_the_odds_triggers_a_retraining_within_days(tmp_path: Path) -> None:
    world = make_world(tmp_path, cases(shifted_from=18))
    days = fast_replay.replay_policy(tmp_path, world, "own", policy("calibration"), END)
    noticed = days.loc[days["trained"] > 0, "day"].iloc[0]
    assert f"{START + 19 * DAY:%Y-%m-%d}" <= noticed <= f"{START + 24 * DAY:%Y-%m-%d}"


def test_labels_of_the_future_do_not_change_the_evidence(tmp_path: Path) -> None:
    """Inverted labels that become known after a day leave its evidence unchanged."""
    frame = cases()
    day = FIRST + 3 * DAY
    other = frame.assign(label=frame["label"].where(frame["known_at"] < day, 1 - frame["label"]))
    evidence = []
    for number, each in enumerate((frame, other)):
        world = make_world(tmp_path / str(number), each)
        state = fast_replay.initial_state(world, FIRST)
        predict_cases(world, state, world.rows(FIRST, day))
        evidence.append(simulated_day.observe_day(world, state, policy(), day))
    assert evidence[0] == evidence[1]
    assert np.isnan(state.champion.scores[: world.rows(START, FIRST).stop]).all()


def test_a_promotion_without_a_challenger_is_refused() -> None:
    champion: Any = None
    state = simulated_day.ReplayState(champion, FIRST, np.zeros(0), np.zeros(0))
    with pytest.raises(LoopError, match="no challenger"):
        state.take_step("promote", FIRST)


def test_a_challenger_under_way_holds_a_retraining_back(
    scheduled: tuple[Path, ReplayWorld, pd.DataFrame],
) -> None:
    _, world, _ = scheduled
    state = fast_replay.initial_state(world, FIRST)
    predict_cases(world, state, world.rows(FIRST, FIRST + 8 * DAY))
    state.challenger = replace(state.champion, name="2013-01-22")
    rule = policy("schedule", every_days=7)
    result = simulated_day.observe_day(world, state, rule, FIRST + 8 * DAY)
    assert not result["retrain"]
    assert "version 2013-01-22 is under way" in result["reason"]


def test_a_measure_that_fails_is_a_problem_as_in_monitoring(
    scheduled: tuple[Path, ReplayWorld, pd.DataFrame],
) -> None:
    _, world, _ = scheduled
    state, at = fast_replay.initial_state(world, FIRST), FIRST + 2 * DAY
    predict_cases(world, state, world.rows(FIRST, at))
    broken = replace(world, frame=world.frame.astype({"hour": object}).assign(hour="at noon"))
    result = simulated_day.observe_day(broken, state, policy(), at)
    assert result["codes"] == ["slices_unmeasured", "drift_unmeasured", "quiet"]


def test_a_restated_label_counts_from_its_restatement_on(
    scheduled: tuple[Path, ReplayWorld, pd.DataFrame],
) -> None:
    _, world, _ = scheduled
    state, day = fast_replay.initial_state(world, FIRST), FIRST + 2 * DAY
    predict_cases(world, state, world.rows(FIRST, day))
    cases = world.frame.iloc[world.rows(FIRST, FIRST + DAY)]
    corrected = cases[["key"]].assign(label=1 - cases["label"], known_at=pd.Timestamp(day))
    later = replace(world, labels=pd.concat([world.labels, corrected], ignore_index=True))
    before, after = (simulated_day.observe_day(each, state, policy(), day + n * DAY)["live"]
                     for each, n in ((later, 0), (later, 1)))  # fmt: skip
    assert before == simulated_day.observe_day(world, state, policy(), day)["live"]
    assert abs(after["base_rate"] - before["base_rate"]) > 0.05


def test_a_refused_first_model_stops_the_replay(tmp_path: Path) -> None:
    world = make_world(tmp_path, cases())
    world.params["gates"]["min_train"] = 10**6
    with pytest.raises(LoopError, match="data is sound"):
        fast_replay.initial_state(world, FIRST)


@pytest.mark.parametrize(
    ("first", "end"),
    [(START, END), (END, FIRST), (FIRST + 0.5 * DAY, END), (FIRST, FIRST + 400 * DAY)],
)
def test_a_period_without_data_is_refused(first: datetime, end: datetime) -> None:
    with pytest.raises(UserError):
        fast_replay.check_period(
            slice_params.slice_params() | {"replay": {"until": "2014-01-01"}}, first, end
        )


def test_the_default_policy_of_the_replay_is_the_shipped_one() -> None:
    params = slice_params.shipped_params()
    rule = params["monitoring"]["policy"]
    assert policies.find_policy(params, params["replay"]["default"]) == rule
    # A model that passes the gates must not trigger a retraining at once.
    assert rule["max_calibration_gap"] >= params["gates"]["max_calibration_gap"]
    assert rule["cool_down_days"] >= params["monitoring"]["window_days"]


def test_policies_are_combined_and_contradictions_are_refused() -> None:
    params = slice_params.slice_params()
    both = policies.find_policy(params, "every_4_weeks+drift")
    assert both["triggers"] == ["drift", "schedule"]
    assert both["every_days"] == 28
    with pytest.raises(UserError, match="contradict each other on every_days"):
        policies.find_policy(params, "every_2_weeks+every_4_weeks")
    with pytest.raises(UserError, match="no policy sometimes"):
        policies.find_policy(params, "sometimes")


def test_savings_are_relative_to_never_and_a_retraining_has_its_price() -> None:
    def days(cost: float, trained: int) -> pd.DataFrame:
        return pd.DataFrame({
            "day": [f"2013-04-{number:02d}" for number in range(1, 11)], "n": 100,
            "cost": cost, "baseline_cost": 80.0, "trained": [trained, *[0] * 9],
            "released": [trained, *[0] * 9],
        })  # fmt: skip

    rows = policies.compare_policies({"never": days(60, 0), "often": days(54, 2)}, [0, 50], seed=1)
    often = rows[1]
    assert often["saving"] == pytest.approx(0.1)
    assert often["low"] == pytest.approx(0.1)
    assert often["against_baseline"] == pytest.approx(1 - 54 / 80)
    assert often["net"] == pytest.approx([60, -40])
    assert policies.compare_policies({"often": days(54, 2)}, [0], seed=1)[0]["saving"] is None
