"""Each gate on the refit refuses its bad case, and a refused model is not registered."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.evaluation.gates import refit_gates
from pipelines.evaluation.gates.verdict import run_gates
from pipelines.registry import register
from pipelines.training import mlflow_tracking
from serving.models.evaluator import export_model
from settings import Settings
from tests.slice_params import shipped_params
from tests.use_case import CATEGORIES, FEATURES, NUMBERS, USE_CASE

PARAMS = shipped_params()
LIMITS = {**PARAMS["gates"], **PARAMS["gates"]["artefact"]}
# Made-up cases have no directed effects; the use case's tests check directions.
LIMITS |= {"storm_raises": -1.0, "calm_lowers": -1.0, "tail_moves": 1.0, "max_latency_ms": 1000.0}
LIMITS |= {"early_calm": 1.0, "late_storm": 0.0}


def fitted(frame: pd.DataFrame, label: np.ndarray) -> Any:
    model, _ = USE_CASE.candidates(PARAMS)["gradient_boosting"]
    return model.set_params(model__max_iter=20).fit(frame[FEATURES], label)


def served(model: Any, folder: Path) -> dict[str, Any]:
    """Export the model; return the fields of `RefitModel` that describe its files."""
    return {"folder": folder, "digest": export_model(model, folder)}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> refit_gates.RefitModel:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.uniform(0, 24, (1500, len(NUMBERS))), columns=NUMBERS)
    frame = frame.assign(**{name: rng.choice(list("abc"), 1500) for name in CATEGORIES})
    label = (frame[NUMBERS[3]] + rng.normal(0, 6, 1500) > 14).to_numpy(dtype="int8")
    model, earlier = fitted(frame, label), fitted(frame[:1400], label[:1400])
    folder = tmp_path_factory.mktemp("served")
    running = served(earlier, folder / "running")["folder"]
    return refit_gates.RefitModel(
        use_case=USE_CASE, model=model, frame=frame.assign(label=label), running=running, seed=7,
        evaluated=earlier.predict_proba(frame[FEATURES])[:, 1], **served(model, folder / "model"),
    )  # fmt: skip


def failed_gates(model: refit_gates.RefitModel, limits: dict[str, Any] | None = None) -> list[str]:
    verdicts = run_gates(model, LIMITS | (limits or {}), refit_gates.REFIT_GATES)
    return [verdict["gate"] for verdict in verdicts if not verdict["passed"]]


def test_a_healthy_refit_passes_every_gate(healthy: refit_gates.RefitModel) -> None:
    assert failed_gates(healthy) == []


def test_a_refit_not_served_as_fitted(healthy: refit_gates.RefitModel, tmp_path: Path) -> None:
    # The columns of two features swapped between training and serving.
    swapped = healthy.frame.rename(columns={NUMBERS[3]: NUMBERS[4], NUMBERS[4]: NUMBERS[3]})
    model = fitted(swapped, healthy.frame["label"].to_numpy())
    failed = failed_gates(replace(healthy, **served(model, tmp_path / "m")))
    assert "served as fitted" in failed
    assert "near the evaluated model" in failed


def test_a_refit_on_shuffled_labels(healthy: refit_gates.RefitModel, tmp_path: Path) -> None:
    labels = np.random.default_rng(0).permutation(healthy.frame["label"].to_numpy())
    model = fitted(healthy.frame, labels)
    failed = failed_gates(replace(healthy, model=model, **served(model, tmp_path / "m")))
    assert failed == ["near the evaluated model"]


def test_a_model_without_refit(healthy: refit_gates.RefitModel) -> None:
    same = healthy.evaluator.predict_frame(healthy.frame)
    assert failed_gates(replace(healthy, evaluated=same)) == ["near the evaluated model"]


def test_changed_files(healthy: refit_gates.RefitModel, tmp_path: Path) -> None:
    files = served(healthy.model, tmp_path / "m")
    with (tmp_path / "m" / "evaluator.json").open("a") as file:
        file.write(" ")
    assert "digest holds" in failed_gates(replace(healthy, **files))


@pytest.mark.parametrize("change", ["a column less", "a text column as number"])
def test_other_columns(healthy: refit_gates.RefitModel, tmp_path: Path, change: str) -> None:
    form = json.loads((healthy.folder / "evaluator.json").read_text())
    assert refit_gates.signature_fits(healthy, LIMITS).passed
    if change == "a column less":
        form["columns"].remove(NUMBERS[0])
    else:
        del form["categories"][CATEGORIES[0]]
    (tmp_path / "evaluator.json").write_text(json.dumps(form))
    verdict = refit_gates.signature_fits(replace(healthy, folder=tmp_path), LIMITS)
    assert not verdict.passed
    assert (NUMBERS[0] if change == "a column less" else CATEGORIES[0]) in verdict.told


def test_columns_that_the_running_service_does_not_provide(
    healthy: refit_gates.RefitModel, tmp_path: Path
) -> None:
    (tmp_path / "evaluator.json").write_text(json.dumps({"columns": ["x"], "categories": {}}))
    assert failed_gates(replace(healthy, running=tmp_path)) == ["signature fits"]


@pytest.mark.parametrize(
    ("limits", "gate_name"),
    [
        ({"max_size_mb": 1e-6}, "small enough"),
        ({"max_latency_ms": 0.0}, "fast enough"),
        ({"storm_raises": 2.0}, "behaves when served"),
    ],
)
def test_a_refit_over_a_budget(
    healthy: refit_gates.RefitModel, limits: dict[str, float], gate_name: str
) -> None:
    assert failed_gates(healthy, limits) == [gate_name]


def test_a_gate_that_cannot_run_fails(healthy: refit_gates.RefitModel) -> None:
    broken = replace(healthy, evaluated=healthy.evaluated[:-1])
    assert failed_gates(broken) == ["near the evaluated model"]


def test_nothing_is_registered_if_no_candidate_passed(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    verdict = {"gate": "calibrated", "passed": False, "value": 0.2, "limit": 0.08,
               "margin": -0.12, "told": "|mean prediction - rate|"}  # fmt: skip
    result = {"winner": None, "verdicts": {"gradient_boosting": [verdict]}}
    path = tmp_path / "var" / "training" / "refused"
    (path / "data" / USE_CASE.name / "evaluation").mkdir(parents=True)
    (path / "data" / USE_CASE.name / "evaluation" / "gates.json").write_text(json.dumps(result))
    outcome = register.register_version(settings, path, {})
    assert outcome["version"] is None
    assert outcome["why"] == (
        "gradient_boosting refused by “calibrated”: 0.2000, must be ≤ 0.0800, off by 0.1200 "
        "(|mean prediction - rate|)"
    )
    assert mlflow_tracking.mlflow_client(settings).search_registered_models() == []
