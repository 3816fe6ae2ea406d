"""All models are judged on the same unseen cases, and the cheapest that passed wins."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from monitoring.measures import scores as evaluation
from pipelines.evaluation import evaluate
from pipelines.training.train import train_candidates
from pipelines.training.training_files import TrainingFiles
from serving.models import evaluator, skops_file
from settings import LoopError, Settings
from tests.slice_params import shipped_params
from tests.use_case import CATEGORIES, FEATURES, NUMBERS, USE_CASE

PROJECT = Path(__file__).resolve().parents[3]
AS_OF = datetime(2020, 5, 1, tzinfo=UTC)
START = datetime(2020, 4, 21, tzinfo=UTC)
N = 2500
COSTS = {"false_alarm": 1.0, "miss": 4.0, "threshold": 0.2}


def cases(seed: int = 0) -> pd.DataFrame:
    """30 days of cases whose risk grows with some of the model's numeric features."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.uniform(0, 24, (N, len(NUMBERS))), columns=NUMBERS)
    signal = frame[NUMBERS[::8]].mean(axis=1)
    signal = 1.1 * (signal - signal.mean()) / signal.std() - 1.2
    for name in CATEGORIES:
        frame[name] = rng.choice(list("abc"), N)
    times = pd.date_range("2020-04-01", "2020-05-01", periods=N + 1, tz="UTC", unit="us")[:-1]
    return frame.assign(
        key=[f"case {number}" for number in range(N)],
        decision_time=times,
        label=(rng.random(N) < 1 / (1 + np.exp(-signal))).astype("int8"),
        known_at=times + pd.Timedelta(minutes=5),
    )


def write_parameters(home: Path) -> None:
    """Write the project's parameters, changed for a small search on few cases."""
    params = shipped_params()
    params["as_of"] = AS_OF.isoformat()
    params["training"]["search"].update(
        n_iter=1, max_iter=[40], max_leaf_nodes=[7], min_samples_leaf=[20]
    )
    # Made-up cases can be too predictable, and their slices are small.
    params["gates"].update(
        min_train=1000,
        min_holdout=500,
        min_slice=100,
        max_column_auc=0.9,
        max_slice_calibration_gap=0.5,
        max_error_excess=0.5,
        margin_slice_cost=1000.0,
        margin_slice_proof=1000.0,
        min_slice_compared=100,
    )
    target = Settings(home=home).params_file
    target.parent.mkdir(parents=True)
    target.write_text(yaml.safe_dump(params))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with an assembled set and its candidates, not yet evaluated."""
    home = tmp_path_factory.mktemp("home")
    settings = Settings(home=home, workspace=None)
    write_parameters(home)
    frame = cases()
    known = frame["known_at"] < START
    manifest = {
        "as_of": AS_OF.isoformat(), "holdout_start": START.isoformat(),
        "n_train": int(known.sum()), "n_holdout": int((frame["decision_time"] >= START).sum()),
        "newest_label": frame["known_at"].max().isoformat(),
    }  # fmt: skip
    (settings.data / "training").mkdir(parents=True)
    frame.to_parquet(settings.data / "training" / "training.parquet", index=False)
    (settings.data / "training" / "manifest.json").write_text(json.dumps(manifest))
    train_candidates(settings, AS_OF)
    return settings


@pytest.fixture
def own(trained: Settings, tmp_path: Path) -> Settings:
    """A copy that a test may change."""
    shutil.copytree(trained.home, tmp_path / "home")
    return Settings(home=tmp_path / "home", workspace=None)


def holdout(settings: Settings) -> pd.DataFrame:
    frame = pd.read_parquet(settings.data / "training" / "training.parquet")
    return frame[frame["decision_time"] >= START].reset_index(drop=True)


def candidates(settings: Settings) -> list[str]:
    return list(json.loads((settings.data / "candidates" / "candidates.json").read_text()))


def model(settings: Settings, name: str) -> Any:
    return skops_file.load_skops((settings.data / "candidates" / f"{name}.skops").read_bytes())


def crown(settings: Settings, name: str) -> None:
    """Make a candidate the champion, in its served form."""
    folder = settings.data / "champion"
    digest = evaluator.export_model(model(settings, name), folder / "served")
    (folder / "card.json").write_text(json.dumps({"digest": digest}))


def test_evaluation_end_to_end(own: Settings) -> None:
    result = evaluate.evaluate_candidates(own, AS_OF)
    folder = own.data / "evaluation"
    assert json.loads((folder / "gates.json").read_text()) == result
    metrics = json.loads((folder / "metrics.json").read_text())
    names = candidates(own)
    assert list(metrics) == ["baseline", *names]
    assert list(result["verdicts"]) == names
    assert result["winner"] == evaluate.choose_winner(result["verdicts"], metrics)

    rows = holdout(own)
    for name in names:
        prob = model(own, name).predict_proba(rows[FEATURES])[:, 1]
        costs = own.params()["costs"]
        assert metrics[name] == pytest.approx(evaluation.metrics(rows["label"], prob, costs))
        by_gate = {each["gate"]: each for each in result["verdicts"][name]}
        assert len(by_gate) == len(evaluate.CANDIDATE_GATES)
        assert not [each for each in by_gate.values() if "could not run" in each["told"]]
        assert by_gate["beats the baseline"]["value"] == metrics[name]["cost_per_1000"]
        assert by_gate["not worse than the champion"]["told"].startswith("no champion yet")
        refused = {each["gate"] for each in by_gate.values() if not each["passed"]}
        assert refused <= {"behaves"}  # made-up cases need not show the use case's behaviours
    page = (folder / "report.html").read_text()
    assert all(name in page for name in names)


def test_champion_is_measured_on_the_same_cases(own: Settings) -> None:
    names = candidates(own)
    crown(own, names[0])
    result = evaluate.evaluate_candidates(own, AS_OF)
    metrics = json.loads((own.data / "evaluation" / "metrics.json").read_text())
    assert metrics["champion"] == pytest.approx(metrics[names[0]])
    compared = {
        name: next(each for each in judged if each["gate"] == "not worse than the champion")
        for name, judged in result["verdicts"].items()
    }
    assert compared[names[0]]["value"] == pytest.approx(0.0)
    difference = metrics[names[1]]["cost_per_1000"] - metrics["champion"]["cost_per_1000"]
    assert f"{difference:+.1f}, 90% interval" in compared[names[1]]["told"]
    assert compared[names[1]]["value"] > difference
    assert "champion_cost" in result["slices"][0]
    assert set(pd.read_csv(own.data / "evaluation" / "roc.csv")["model"]) == set(metrics)


def test_leaking_candidate_is_refused(own: Settings) -> None:
    """A candidate that knows the label scores best and is refused."""
    file = own.data / "candidates" / "predictions.parquet"
    scores = TrainingFiles(own.root, own.use_case).scores
    names = candidates(own)
    scores[names[0]] = 0.1 + 0.7 * scores["label"]
    scores.to_parquet(file, index=False)
    result = evaluate.evaluate_candidates(own, AS_OF)
    verdicts = {each["gate"]: each["passed"] for each in result["verdicts"][names[0]]}
    assert not verdicts["not too good to be true"]
    assert verdicts["beats the baseline"]
    assert result["winner"] != names[0]


def test_candidates_of_another_training_set_are_refused(own: Settings) -> None:
    file = own.data / "candidates" / "predictions.parquet"
    scores = TrainingFiles(own.root, own.use_case).scores
    scores.iloc[::-1].to_parquet(file, index=False)
    with pytest.raises(LoopError, match="do not match"):
        evaluate.evaluate_candidates(own, AS_OF)


def test_changed_champion_is_refused(own: Settings) -> None:
    crown(own, candidates(own)[0])
    (own.data / "champion" / "card.json").write_text(json.dumps({"digest": "0" * 64}))
    with pytest.raises(LoopError, match="digest"):
        evaluate.evaluate_candidates(own, AS_OF)


def test_champion_scores_are_those_of_the_model(own: Settings) -> None:
    rows = holdout(own)
    assert evaluate.champion_scores(own.data / "champion", rows) is None
    for name in candidates(own):
        crown(own, name)
        scores = evaluate.champion_scores(own.data / "champion", rows)
        assert scores == pytest.approx(model(own, name).predict_proba(rows[FEATURES])[:, 1])


def judged(*passed: bool) -> list[dict[str, Any]]:
    return [{"passed": each} for each in passed]


@pytest.mark.parametrize(
    ("verdicts", "winner"),
    [
        ({"dear": judged(True, True), "cheap": judged(True, True)}, "cheap"),
        ({"dear": judged(True, True), "cheap": judged(True, False)}, "dear"),
        ({"dear": judged(False, True), "cheap": judged(True, False)}, None),
        ({}, None),
    ],
)
def test_cheapest_that_passed_every_gate_wins(
    verdicts: dict[str, list[dict[str, Any]]], winner: str | None
) -> None:
    metrics = {"dear": {"cost_per_1000": 600.0}, "cheap": {"cost_per_1000": 500.0},
                "baseline": {"cost_per_1000": 1.0}, "champion": {"cost_per_1000": 2.0}}  # fmt: skip
    assert evaluate.choose_winner(verdicts, metrics) == winner


def test_slices_add_up_to_the_whole() -> None:
    frame = cases(seed=3)
    scores = frame[["key", "label"]].assign(
        model=np.random.default_rng(3).random(N), other=frame["label"] * 0.5 + 0.1
    )
    rows = pd.DataFrame(
        evaluate.metrics_by_slice(USE_CASE, frame, scores, ["model", "other"], COSTS)
    )
    whole = evaluation.cost_per_1000(scores["label"], scores["model"], COSTS)
    for kind, values in USE_CASE.slices(frame).items():
        part = rows[rows["slice"] == kind]
        assert set(part["value"]) == set(values.unique())
        assert part["n"].sum() == N
        assert np.average(part["model_cost"], weights=part["n"]) == pytest.approx(whole)
        base_rate = np.average(part["base_rate"], weights=part["n"])
        assert base_rate == pytest.approx(scores["label"].mean())
        first = part.iloc[0]
        mean = scores.loc[(values == first["value"]).to_numpy(), "model"].mean()
        assert first["model_mean"] == pytest.approx(mean)
    assert (rows["other_cost"] == 0).all()


def test_curves_are_written_as_the_recipe_plots_them(tmp_path: Path) -> None:
    label = np.random.default_rng(0).integers(0, 2, N)
    scores = pd.DataFrame({"label": label, "sharp": label * 0.6 + 0.2, "flat": 0.5})
    scores["flat"] += np.random.default_rng(1).random(N) / 10
    evaluate.write_curves(tmp_path, scores, ["sharp", "flat"])
    recipe = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]["evaluate"]["do"]["plots"]
    for plot in recipe:
        ((name, axes),) = plot.items()
        written = pd.read_csv(tmp_path / Path(name).name)
        assert {axes["x"], axes["y"], "model"} == set(written.columns)
        assert set(written["model"]) == {"sharp", "flat"}
        assert written[[axes["x"], axes["y"]]].stack().between(0, 1).all()

    roc = pd.read_csv(tmp_path / "roc.csv").set_index("model")
    for name in ("sharp", "flat"):
        curve = roc.loc[name].to_numpy()
        assert len(curve) <= 100
        assert curve[0].tolist() == [0, 0]
        assert curve[-1].tolist() == [1, 1]
        assert (np.diff(curve, axis=0) >= 0).all()
    assert [0.0, 1.0] in roc.loc["sharp"].to_numpy().tolist()
    calibration = pd.read_csv(tmp_path / "calibration.csv").set_index("model")
    sharp = calibration.loc["sharp"].to_numpy().ravel().tolist()
    assert sharp == pytest.approx([0.2, 0.0, 0.8, 1.0])
