"""Register a training's winner as a version: refit, gates on the refit, model card, MLflow."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features import durable_files, partitions
from monitoring.measures import scores as measures
from pipelines.evaluation.formatting import describe_refusal
from pipelines.evaluation.gates.champion_and_baseline import case_log_losses
from pipelines.evaluation.gates.source_gates import SOURCE_GATES, TrainingSources
from pipelines.evaluation.gates.verdict import run_gates
from pipelines.registry import model_card, refit, version_files
from pipelines.registry.versions import find_registered_model, version_of_training
from pipelines.training import lineage, mlflow_tracking
from pipelines.training.train import probabilities
from pipelines.training.training_files import TrainingFiles
from serving.models import skops_file
from settings import Settings

CARD_CASES = 1000  # more cases change the importance in the third digit only


def register_version(settings: Settings, path: Path, md5s: dict[str, str]) -> dict[str, Any]:
    """Register the winner of the training in `path`, refitted on every known case.

    Return `version` (None if the gates refused every candidate or the refit), `why`, and the
    `verdicts` on the refit. A training that is already registered is found by its tag.
    """
    files = TrainingFiles(path, settings.use_case)
    winner = files.gates["winner"]
    if winner is None:
        why = describe_refusals(files.gates["verdicts"])
        return {"version": None, "why": why, "verdicts": []}
    existing = version_of_training(settings, path.name)
    if existing is not None:
        return {"version": existing, "why": "registered before", "verdicts": []}
    # Fails before the expensive refit if the card has no owner or approved risks.
    model_card.parse_governance(model_card.read_use_case_card(files.use_case))
    digest, on_refit = refit.refit_training(files)
    verdicts = source_verdicts(settings, files, md5s) + on_refit
    if not all(verdict["passed"] for verdict in verdicts):
        why = describe_refusals({f"refit of {winner}": verdicts})
        return {"version": None, "why": why, "verdicts": verdicts}
    tags = lineage.lineage_tags(files, md5s) | {"candidate": winner, "digest": digest}
    version = _create_version(settings, files, verdicts, tags)
    return {"version": version, "why": "passed every gate", "verdicts": verdicts}


def describe_refusals(verdicts: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return which gate refused which candidate, and by how much."""
    return "; ".join(
        f"{name} refused by {describe_refusal(each)}"
        for name, of_candidate in verdicts.items()
        for each in of_candidate
        if not each["passed"]
    )


def source_verdicts(
    settings: Settings, files: TrainingFiles, md5s: dict[str, str]
) -> list[dict[str, Any]]:
    """Return the verdicts of the gates on the training's data, and on the online store."""
    gates = files.params["gates"]
    subject = TrainingSources(settings, files.path, md5s, files.params["seed"])
    return run_gates(subject, {**gates, **gates["sources"]}, SOURCE_GATES)


def reference_cases(holdout: pd.DataFrame, scores: pd.Series) -> pd.DataFrame:
    """Return the reference of drift: the holdout cases with the winner's probabilities.

    The probabilities are from before the refit, so the cases were unseen.
    """
    return holdout.assign(probability=scores.to_numpy())


def explanation_facts(files: TrainingFiles, winner: str) -> dict[str, Any]:
    """Return `tried`, `intervals`, `behaviours` and `importance` of a training.

    The importance of a column is the rise of the log-loss when it is shuffled; largest first.
    """
    from sklearn.inspection import permutation_importance

    params, holdout, model = files.params, files.holdout, files.model(winner)
    columns = files.use_case.features
    scores, seed = files.scores[winner].to_numpy(), params["seed"]
    sample = holdout.sample(min(len(holdout), CARD_CASES), random_state=seed)
    rises = permutation_importance(
        model, sample[columns], sample["label"], scoring="neg_log_loss", n_repeats=2,
        random_state=seed,
    ).importances_mean  # fmt: skip
    importance = zip(columns, map(float, rises), strict=True)
    return {
        "tried": {
            name: {"draws": max(1, len(each["trials"])), "params": each["params"]}
            for name, each in files.candidates.items()
        },
        "intervals": metric_intervals(holdout, scores, params["costs"], seed),
        "behaviours": {
            name: {"value": each.value, "limit": each.limit, "passed": each.passed}
            for name, each in files.use_case.behaviours(
                partial(probabilities, model), sample, params["gates"]
            ).items()
        },
        "importance": dict(sorted(importance, key=lambda pair: -pair[1])),
    }


def metric_intervals(
    holdout: pd.DataFrame, scores: np.ndarray, costs: dict[str, float], seed: int
) -> dict[str, tuple[float, float]]:
    """Return the 90% interval of each metric that is a mean over cases, by bootstrap of days."""
    y, days = holdout["label"].to_numpy(), holdout["decision_time"].dt.floor("D")
    cases = {
        "log_loss": case_log_losses(y, scores),
        "brier": (scores - y) ** 2,
        "cost_per_1000": 1000 * measures.case_costs(y, scores, costs),
        "positive_rate": (scores >= costs["threshold"]).astype(float),
        "base_rate": y.astype(float),
    }
    return {name: measures.day_bootstrap(values, days, seed) for name, values in cases.items()}


def _create_version(
    settings: Settings, files: TrainingFiles, verdicts: list[dict[str, Any]], tags: dict[str, str]
) -> str:
    winner = tags["candidate"]
    use_case_card = model_card.read_use_case_card(files.use_case)
    tags = tags | {"data_until": tags["as_of"]}
    facts = {
        **tags, **explanation_facts(files, winner),
        "registered_at": datetime.now(UTC).isoformat(), "evaluation": files.metrics[winner],
        "measured": files.metrics, "verdicts": files.gates["verdicts"][winner] + verdicts,
        "slices": files.gates["slices"],
    }  # fmt: skip
    client = mlflow_tracking.mlflow_client(settings)
    with (
        mlflow_tracking.start_run(
            settings, f"refit {tags['as_of'][:10]}", tags | {"refit": "true"}
        ) as run,
        tempfile.TemporaryDirectory() as folder,
    ):
        run_id = run.info.run_id
        model = skops_file.load_skops((files.path / "refit" / "model.skops").read_bytes())
        example = files.holdout[files.use_case.features].tail(5)
        logged = mlflow_tracking.log_model(settings, model, example, run_id)
        _write_version_files(files, facts, Path(folder))
        version_files.sign_files(settings, Path(folder), tags["digest"])
        client.log_artifacts(run_id, folder)
    if find_registered_model(settings, client) is None:
        client.create_registered_model(settings.usecase)
    # Last, in one call with its tags: a kill before leaves no incomplete version.
    version = client.create_model_version(
        settings.usecase, logged.model_uri, run_id, model_id=logged.model_id, tags=tags,
        description=model_card.render_registry_description(use_case_card, facts),
    )  # fmt: skip
    return str(version.version)


def _write_version_files(files: TrainingFiles, facts: dict[str, Any], folder: Path) -> None:
    """Write the files of the version. MLflow's own copy of the model is not among them."""
    winner = facts["candidate"]
    card = model_card.render_model_card(model_card.read_use_case_card(files.use_case), facts)
    durable_files.write_json(folder / "facts.json", facts, default=str)
    durable_files.write_file(folder / "card.md", card)
    page = model_card.render_model_card_page(card, facts, files.scores)
    durable_files.write_file(folder / "card.html", page)
    reference = reference_cases(files.holdout, files.scores[winner])
    partitions.write_partition(reference, folder / "reference.parquet")
    shutil.copytree(files.path / "refit" / "served", folder / "served")
    shutil.copyfile(files.params_file, folder / "params.yaml")
