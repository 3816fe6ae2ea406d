"""Recipe stage: measure candidates, baseline and champion on the holdout, and run the gates."""

import json
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from contract import UseCase
from features import durable_files
from monitoring.measures import scores as measures
from pipelines.evaluation.gates import champion_and_baseline as compared
from pipelines.evaluation.gates import soundness
from pipelines.evaluation.gates.verdict import GateInputs, Limits, Verdict, run_gates
from pipelines.runtime import stage_command
from pipelines.training.train import probabilities
from pipelines.training.training_files import TrainingFiles
from settings import LoopError, Settings

Verdicts = dict[str, list[dict[str, Any]]]  # by candidate
Metrics = dict[str, dict[str, float]]  # by model
CANDIDATE_GATES: tuple[Callable[[GateInputs, Limits], Verdict], ...] = (
    soundness.data_is_sound,
    soundness.data_is_valid,
    compared.beats_the_baseline,
    compared.not_worse_than_the_champion,
    compared.log_loss_holds,
    compared.no_slice_worse_than_the_champion,
    compared.no_slice_left_in_doubt,
    soundness.calibrated,
    soundness.calibrated_in_slices,
    soundness.slices_hold,
    soundness.errors_are_even,
    soundness.not_too_good_to_be_true,
    soundness.no_column_too_good,
    soundness.no_value_tells,
    soundness.behaves,
)


def evaluate_candidates(settings: Settings, as_of: datetime) -> dict[str, Any]:
    """Write metrics, verdicts, curves and the report to `evaluation/`; return the verdicts."""
    from pipelines.evaluation import evaluation_page

    params, files = settings.params(), TrainingFiles(settings.root, settings.use_case)
    holdout, scores = files.holdout, files.scores
    if not scores["key"].equals(holdout["key"]):
        raise LoopError("Candidates and training set do not match. Run `dvc repro train`.")
    champion = champion_scores(settings.data / "champion", holdout)
    if champion is not None:
        scores["champion"] = champion
    models = {name: files.model(name) for name in files.candidates}
    metrics, verdicts = judge_candidates(
        settings.use_case, models, holdout, scores, files.manifest, params
    )
    result = {
        "winner": choose_winner(verdicts, metrics), "verdicts": verdicts,
        "manifest": files.manifest,
        "slices": metrics_by_slice(
            settings.use_case, holdout, scores, list(metrics), params["costs"]
        ),
    }  # fmt: skip
    folder = settings.data / "evaluation"
    durable_files.write_json(folder / "metrics.json", metrics)
    durable_files.write_json(folder / "gates.json", result)
    write_curves(folder, scores, list(metrics))
    page = evaluation_page.render_evaluation_page(metrics, result, scores)
    durable_files.write_file(folder / "report.html", page)
    return result


def judge_candidates(
    use_case: UseCase, models: dict[str, Any], holdout: pd.DataFrame, scores: pd.DataFrame,
    manifest: dict[str, Any], params: dict[str, Any],
) -> tuple[Metrics, Verdicts]:  # fmt: skip
    """Return the metrics of all models and the gate verdicts on the candidates, by name.

    `models` are the fitted candidates. `scores` has probabilities on the holdout, in its order: a
    column per candidate, `baseline` and, if there is a champion, `champion`.
    """
    metrics = {
        name: measures.metrics(holdout["label"], scores[name], params["costs"])
        for name in ("baseline", *models, "champion")
        if name in scores
    }
    champion = scores["champion"].to_numpy() if "champion" in scores else None
    verdicts = {}
    for name, model in models.items():
        inputs = gate_inputs(
            use_case, model, holdout, scores[name].to_numpy(), scores["baseline"].to_numpy(),
            champion, manifest, params,
        )  # fmt: skip
        verdicts[name] = run_gates(inputs, params["gates"], CANDIDATE_GATES)
    return metrics, verdicts


def gate_inputs(
    use_case: UseCase, model: Any, holdout: pd.DataFrame, candidate: np.ndarray,
    baseline: np.ndarray, champion: np.ndarray | None, manifest: dict[str, Any],
    params: dict[str, Any],
) -> GateInputs:  # fmt: skip
    """Return what the gates on a candidate need; the arrays are probabilities on the holdout."""
    return GateInputs(
        frame=holdout, candidate=candidate, baseline=baseline, champion=champion,
        predict=partial(probabilities, model), slices=use_case.slices(holdout),
        behaviours=use_case.behaviours, manifest=manifest, costs=params["costs"],
        seed=params["seed"], columns=use_case.features,
    )  # fmt: skip


def choose_winner(verdicts: Verdicts, metrics: Metrics) -> str | None:
    """Return the cheapest candidate that passed every gate; None if none did."""
    passed = [name for name, judged in verdicts.items() if all(each["passed"] for each in judged)]
    return min(passed, key=lambda name: metrics[name]["cost_per_1000"], default=None)


def best_candidate(verdicts: Verdicts, metrics: Metrics) -> str:
    """Return the winner, or the cheapest candidate if none passed every gate."""
    cheapest = min(verdicts, key=lambda name: metrics[name]["cost_per_1000"])
    return choose_winner(verdicts, metrics) or cheapest


def champion_scores(folder: Path, holdout: pd.DataFrame) -> np.ndarray | None:
    """Return the champion's probabilities on the holdout, shape (n_cases,); None without one."""
    from serving.models.evaluator import Evaluator

    if not (folder / "card.json").exists():
        return None
    digest = json.loads((folder / "card.json").read_text())["digest"]
    return Evaluator.load(folder / "served", digest).predict_frame(holdout)


def metrics_by_slice(
    use_case: UseCase, holdout: pd.DataFrame, scores: pd.DataFrame, names: list[str],
    costs: dict[str, float],
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the cases and base rate of each slice, and each model's cost per 1,000 and mean."""
    rows = []
    for kind, values in use_case.slices(holdout).items():
        for value, part in scores.groupby(values.to_numpy()):
            row = {"slice": kind, "value": str(value), "n": len(part)}
            row["base_rate"] = float(part["label"].mean())
            for name in names:
                row[f"{name}_cost"] = measures.cost_per_1000(part["label"], part[name], costs)
                row[f"{name}_mean"] = float(part[name].mean())
            rows.append(row)
    return rows


def write_curves(folder: Path, scores: pd.DataFrame, names: list[str]) -> None:
    """Write `roc.csv` and `calibration.csv` for `dvc plots`, one row per model and point."""
    from monitoring.measures import curves

    for file, curve in (("roc", curves.roc_curve), ("calibration", curves.calibration_curve)):
        points = pd.concat({name: curve(scores, name) for name in names}, names=["model"])
        points.droplevel(1).to_csv(folder / f"{file}.csv")


if __name__ == "__main__":
    stage_command.run_stage_command(evaluate_candidates)
