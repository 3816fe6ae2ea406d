"""Recipe stage: measure candidates, baseline and champion on the holdout, and run the gates."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features import durable_files
from pipelines.evaluation.gates import candidate_gates
from pipelines.evaluation.gates.verdict import run_gates
from pipelines.runtime import stage_command
from pipelines.training import assemble
from pipelines.training.train import read_holdout_predictions
from settings import LoopError, Settings
from usecase import evaluation


def evaluate_candidates(settings: Settings, as_of: datetime) -> dict[str, Any]:
    """Write metrics, verdicts, curves and the report to `data/evaluation/`; return the verdicts."""
    from pipelines.evaluation import evaluation_page
    from serving.models import skops_file

    params = settings.params()
    frame, manifest = assemble.load_training_set(settings)
    _, holdout = assemble.split_holdout(frame, manifest)
    scores = read_holdout_predictions(settings.data)
    if not scores["key"].equals(holdout["key"]):
        raise LoopError("Candidates and training set do not match. Run `dvc repro train`.")
    champion = champion_scores(settings.data / "champion", holdout)
    if champion is not None:
        scores["champion"] = champion
    stored = settings.data / "candidates"
    models = {
        name: skops_file.load_skops((stored / f"{name}.skops").read_bytes())
        for name in json.loads((stored / "candidates.json").read_text())
    }
    metrics, verdicts = judge_candidates(models, holdout, scores, manifest, params)
    result = {
        "winner": choose_winner(verdicts, metrics), "verdicts": verdicts, "manifest": manifest,
        "slices": metrics_by_slice(holdout, scores, list(metrics), params["costs"]),
    }  # fmt: skip
    folder = settings.data / "evaluation"
    folder.mkdir(parents=True, exist_ok=True)
    durable_files.write_json(folder / "metrics.json", metrics)
    durable_files.write_json(folder / "gates.json", result)
    write_curves(folder, scores, list(metrics))
    evaluation_page.write_evaluation_page(folder / "report.html", metrics, result, scores)
    return result


def judge_candidates(
    models: dict[str, Any], holdout: pd.DataFrame, scores: pd.DataFrame,
    manifest: dict[str, Any], params: dict[str, Any],
) -> tuple[dict[str, dict[str, float]], dict[str, list[dict[str, Any]]]]:  # fmt: skip
    """Return the metrics of all models and the gate verdicts on the candidates, by name.

    `models` are the fitted candidates. `scores` has probabilities on the holdout, in its order: a
    column per candidate, `baseline` and, if there is a champion, `champion`.
    """
    metrics = {
        name: evaluation.metrics(holdout["label"], scores[name], params["costs"])
        for name in ("baseline", *models, "champion")
        if name in scores
    }
    verdicts = {}
    for name, model in models.items():
        inputs = _gate_inputs(name, model, holdout, scores, manifest, params)
        judged = run_gates(inputs, params["gates"], candidate_gates.CANDIDATE_GATES)
        verdicts[name] = [verdict.as_dict() for verdict in judged]
    return metrics, verdicts


def choose_winner(
    verdicts: dict[str, list[dict[str, Any]]], metrics: dict[str, dict[str, float]]
) -> str | None:
    """Return the cheapest candidate that passed every gate; None if none did."""
    passed = [name for name, judged in verdicts.items() if all(each["passed"] for each in judged)]
    return min(passed, key=lambda name: metrics[name]["cost_per_1000"], default=None)


def champion_scores(folder: Path, holdout: pd.DataFrame) -> np.ndarray | None:
    """Return the champion's probabilities on the holdout, shape (n_cases,); None without one."""
    from serving.models.evaluator import Evaluator

    if not (folder / "card.json").exists():
        return None
    digest = json.loads((folder / "card.json").read_text())["digest"]
    return Evaluator.load(folder / "served", digest).predict_frame(holdout)


def metrics_by_slice(
    holdout: pd.DataFrame, scores: pd.DataFrame, names: list[str], costs: dict[str, float]
) -> list[dict[str, Any]]:
    """Return the cases and base rate of each slice, and each model's cost per 1,000 and mean."""
    rows = []
    for kind, values in evaluation.slices(holdout).items():
        for value, part in scores.groupby(values.to_numpy()):
            row = {
                "slice": kind, "value": str(value), "n": len(part),
                "base_rate": float(part["label"].mean()),
            }  # fmt: skip
            for name in names:
                row[f"{name}_cost"] = evaluation.cost_per_1000(part["label"], part[name], costs)
                row[f"{name}_mean"] = float(part[name].mean())
            rows.append(row)
    return rows


def write_curves(folder: Path, scores: pd.DataFrame, names: list[str]) -> None:
    """Write `roc.csv` and `calibration.csv` for `dvc plots`, one row per model and point."""
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import roc_curve

    roc, calibration = [], []
    for name in names:
        false_rate, true_rate, _ = roc_curve(scores["label"], scores[name])
        at = np.unique(np.linspace(0, len(false_rate) - 1, 100).astype(int))
        roc.append(
            pd.DataFrame(
                {
                    "model": name,
                    "false_positive_rate": false_rate[at],
                    "true_positive_rate": true_rate[at],
                }
            )
        )
        observed, predicted = calibration_curve(
            scores["label"], scores[name], n_bins=10, strategy="quantile"
        )
        calibration.append(
            pd.DataFrame({"model": name, "predicted": predicted, "observed": observed})
        )
    pd.concat(roc).to_csv(folder / "roc.csv", index=False)
    pd.concat(calibration).to_csv(folder / "calibration.csv", index=False)


def _gate_inputs(
    name: str, model: Any, holdout: pd.DataFrame, scores: pd.DataFrame,
    manifest: dict[str, Any], params: dict[str, Any],
) -> candidate_gates.GateInputs:  # fmt: skip
    from usecase.columns import FEATURES

    return candidate_gates.GateInputs(
        frame=holdout,
        candidate=scores[name].to_numpy(),
        baseline=scores["baseline"].to_numpy(),
        champion=scores["champion"].to_numpy() if "champion" in scores else None,
        predict=lambda rows: model.predict_proba(rows[FEATURES])[:, 1],
        slices=evaluation.slices(holdout),
        manifest=manifest,
        costs=params["costs"],
        seed=params["seed"],
        columns=FEATURES,
    )


if __name__ == "__main__":
    stage_command.run_stage_command(evaluate_candidates)
