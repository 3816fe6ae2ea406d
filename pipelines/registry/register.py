"""Register a training's winner as a version: refit, gates on the refit, model card, MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from features import partitions
from pipelines.evaluation.gates.source_gates import SOURCE_GATES, TrainingSources
from pipelines.evaluation.gates.verdict import run_gates
from pipelines.registry import explanations, governance, model_card, refit
from pipelines.registry.versions import REGISTERED_MODEL, find_registered_model, version_of_training
from pipelines.training import lineage, mlflow_tracking
from pipelines.training.training_files import TrainingFiles
from serving.models import skops_file
from settings import Settings
from usecase.columns import FEATURES


def register_version(settings: Settings, path: Path, md5s: dict[str, str]) -> dict[str, Any]:
    """Register the winner of the training in `path`, refitted on every known case.

    Return `version` (None if the gates refused every candidate or the refit), `why`, and the
    `verdicts` on the refit. A training that is already registered is found by its tag.
    """
    files = TrainingFiles(path)
    winner = files.gates["winner"]
    if winner is None:
        why = describe_refusals(files.gates["verdicts"])
        return {"version": None, "why": why, "verdicts": []}
    existing = version_of_training(settings, path.name)
    if existing is not None:
        return {"version": existing, "why": "registered before", "verdicts": []}
    # Fails before the expensive refit if the card has no owner or approved risks.
    governance.parse_governance(model_card.read_use_case_card())
    digest, on_refit = refit.refit_training(path)
    verdicts = source_verdicts(settings, files, md5s) + on_refit
    if not all(verdict["passed"] for verdict in verdicts):
        why = describe_refusals({f"refit of {winner}": verdicts})
        return {"version": None, "why": why, "verdicts": verdicts}
    tags = lineage.lineage_tags(path, md5s) | {"candidate": winner, "digest": digest}
    version = _create_version(settings, files, verdicts, tags)
    return {"version": version, "why": "passed every gate", "verdicts": verdicts}


def describe_refusals(verdicts: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return which gate refused which candidate, and by how much."""
    parts = []
    for name, of_candidate in verdicts.items():
        for each in of_candidate:
            if not each["passed"]:
                margin = f" by {abs(each['margin']):.4g}" if each["margin"] is not None else ""
                parts.append(f"{name} refused by '{each['gate']}'{margin} ({each['told']})")
    return "; ".join(parts)


def source_verdicts(
    settings: Settings, files: TrainingFiles, md5s: dict[str, str]
) -> list[dict[str, Any]]:
    """Return the verdicts of the gates on the training's data, and on the online store."""
    gates = files.params["gates"]
    subject = TrainingSources(settings, files.path, md5s, files.params["seed"])
    verdicts = run_gates(subject, {**gates, **gates["sources"]}, SOURCE_GATES)
    return [each.as_dict() for each in verdicts]


def reference_cases(holdout: pd.DataFrame, scores: pd.Series) -> pd.DataFrame:
    """Return the reference of drift: the holdout cases with the winner's probabilities.

    The probabilities are from before the refit, so the cases were unseen.
    """
    return holdout.assign(probability=scores.to_numpy())


def _create_version(
    settings: Settings, files: TrainingFiles, verdicts: list[dict[str, Any]], tags: dict[str, str]
) -> str:
    winner, made = tags["candidate"], files.path / "refit"
    use_case_card = model_card.read_use_case_card()
    tags = tags | {"data_until": tags["as_of"]}
    facts = {
        **tags, **explanations.explanation_facts(files, winner),
        "registered_at": datetime.now(UTC).isoformat(), "evaluation": files.metrics[winner],
        "measured": files.metrics, "verdicts": files.gates["verdicts"][winner] + verdicts,
        "slices": files.gates["slices"],
    }  # fmt: skip
    card = model_card.render_model_card(use_case_card, facts)
    reference = made / "reference.parquet"
    partitions.write_partition(reference_cases(files.holdout, files.scores[winner]), reference)
    client = mlflow_tracking.mlflow_client(settings)
    with mlflow_tracking.start_run(
        settings, f"refit {tags['as_of'][:10]}", tags | {"refit": "true"}
    ) as run:
        run_id = run.info.run_id
        model = skops_file.load_skops((made / "model.skops").read_bytes())
        example = files.holdout[FEATURES].tail(5)
        logged = mlflow_tracking.log_model(settings, model, example, run_id)
        client.log_dict(run_id, facts, "facts.json")
        client.log_text(run_id, card, "card.md")
        page = model_card.render_model_card_page(card, facts, files.scores)
        client.log_text(run_id, page, "card.html")
        client.log_artifacts(run_id, str(made / "served"), "served")
        for file in (files.path / "usecase" / "params.yaml", reference):
            client.log_artifact(run_id, str(file))
    if find_registered_model(client) is None:
        client.create_registered_model(REGISTERED_MODEL)
    # Last, in one call with its tags: a kill before leaves no incomplete version.
    version = client.create_model_version(
        REGISTERED_MODEL, logged.model_uri, run_id, model_id=logged.model_id, tags=tags,
        description=model_card.render_registry_description(use_case_card, facts),
    )  # fmt: skip
    return str(version.version)
