"""Register a training's winner as a version: refit, gates on the refit, model card, MLflow."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from features import durable_files
from pipelines.registry import governance, model_card
from pipelines.registry.refit import refit_winner
from pipelines.registry.versions import REGISTERED_MODEL, find_registered_model, version_of_training
from pipelines.training import assemble, mlflow_tracking
from pipelines.training.train import read_holdout_predictions
from settings import Settings


def register_version(settings: Settings, path: Path, md5s: dict[str, str]) -> dict[str, Any]:
    """Register the winner of the training in `path`, refitted on every known case.

    Return `version` (None if the gates refused every candidate or the refit), `why`, and the
    `verdicts` on the refit. A training that is already registered is found by its tag.
    """
    gates = json.loads((path / "data" / "evaluation" / "gates.json").read_text())
    if gates["winner"] is None:
        return {"version": None, "why": describe_refusals(gates["verdicts"]), "verdicts": []}
    existing = version_of_training(settings, path.name)
    if existing is not None:
        return {"version": existing, "why": "registered before", "verdicts": []}
    # Fails before the expensive refit if the card has no owner or approved risks.
    governance.parse_governance(model_card.read_use_case_card())
    digest = refit_winner(path, gates["winner"])
    verdicts = run_source_gates(settings, path, md5s)
    verdicts += run_refit_gates(path, gates["winner"], digest)
    if not all(verdict["passed"] for verdict in verdicts):
        why = describe_refusals({f"refit of {gates['winner']}": verdicts})
        return {"version": None, "why": why, "verdicts": verdicts}
    version = _create_version(settings, path, gates, verdicts, md5s, digest)
    return {"version": version, "why": "passed every gate", "verdicts": verdicts}


def describe_refusals(verdicts: dict[str, list[dict[str, Any]]]) -> str:
    """Return which gate refused which candidate, and by how much."""
    parts = []
    for name, of_candidate in verdicts.items():
        for each in of_candidate:
            if not each["passed"]:
                margin = f" by {abs(each['margin']):.4g}" if each["margin"] is not None else ""
                parts.append(f"{name} refused by '{each['gate']}'{margin} ({each['told']})")
    return "; ".join(parts)


def run_refit_gates(path: Path, winner: str, digest: str) -> list[dict[str, Any]]:
    """Return the verdicts of the gates on the refit."""
    from pipelines.evaluation.gates import refit_gates, verdict
    from serving.models import skops_file
    from usecase.columns import CATEGORIES, FEATURES

    params = yaml.safe_load((path / "usecase" / "params.yaml").read_text())
    limits = {**params["gates"], **params["gates"]["artefact"]}
    subject = refit_gates.RefitModel(
        model=skops_file.load_skops((path / "refit" / "model.skops").read_bytes()),
        folder=path / "refit" / "served",
        digest=digest,
        frame=_holdout(path),
        evaluated=read_holdout_predictions(path / "data")[winner].to_numpy(),
        columns=FEATURES,
        texts=CATEGORIES,
        seed=params["seed"],
        running=champion if (champion := path / "data" / "champion" / "served").exists() else None,
    )
    return [each.as_dict() for each in verdict.run_gates(subject, limits, refit_gates.REFIT_GATES)]


def run_source_gates(settings: Settings, path: Path, md5s: dict[str, str]) -> list[dict[str, Any]]:
    """Return the verdicts of the gates on the training's data, and on the online store."""
    from pipelines.evaluation.gates import source_gates, verdict
    from pipelines.runtime.stage_command import parse_time
    from usecase.columns import FEATURES

    params = yaml.safe_load((path / "usecase" / "params.yaml").read_text())
    limits = {**params["gates"], **params["gates"]["sources"]}
    manifest = json.loads((path / "data" / "training" / "manifest.json").read_text())
    subject = source_gates.TrainingSources(
        settings=settings, path=path, md5s=md5s, seed=params["seed"], columns=FEATURES,
        frame=pd.read_parquet(path / "data" / "training" / "training.parquet"),
        as_of=parse_time(manifest["as_of"]), holdout_start=parse_time(manifest["holdout_start"]),
    )  # fmt: skip
    return [
        each.as_dict() for each in verdict.run_gates(subject, limits, source_gates.SOURCE_GATES)
    ]


def _create_version(
    settings: Settings, path: Path, gates: dict[str, Any], verdicts: list[dict[str, Any]],
    md5s: dict[str, str], digest: str,
) -> str:  # fmt: skip
    from pipelines.registry import explanations, model_card_page
    from pipelines.training import lineage
    from serving.models import skops_file
    from usecase.columns import FEATURES

    winner, use_case_card = gates["winner"], model_card.read_use_case_card()
    tags = lineage.lineage_tags(path, md5s) | {"candidate": winner, "digest": digest}
    facts = _card_facts(path, gates, verdicts, tags) | explanations.explanation_facts(path, winner)
    card = model_card.render_model_card(use_case_card, facts)
    client = mlflow_tracking.mlflow_client(settings)
    with mlflow_tracking.start_run(
        settings, f"refit {tags['as_of'][:10]}", tags | {"refit": "true"}
    ) as run:
        run_id = run.info.run_id
        model = skops_file.load_skops((path / "refit" / "model.skops").read_bytes())
        logged = mlflow_tracking.log_model(
            settings, model, _holdout(path)[FEATURES].tail(5), run_id
        )
        client.log_dict(run_id, facts, "facts.json")
        client.log_text(run_id, card, "card.md")
        page = model_card_page.render_model_card_page(
            use_case_card, facts, read_holdout_predictions(path / "data")
        )
        client.log_text(run_id, page, "card.html")
        client.log_artifacts(run_id, str(path / "refit" / "served"), "served")
        client.log_artifact(run_id, str(path / "usecase" / "params.yaml"))
        _write_reference(path)
        client.log_artifact(run_id, str(path / "refit" / "reference.parquet"))
    if find_registered_model(client) is None:
        client.create_registered_model(REGISTERED_MODEL)
    # Last, in one call with its tags: a kill before leaves no incomplete version.
    version = client.create_model_version(
        REGISTERED_MODEL, logged.model_uri, run_id, model_id=logged.model_id,
        tags=tags | {"data_until": tags["as_of"]},
        description=model_card.render_registry_description(use_case_card, facts),
    )  # fmt: skip
    return str(version.version)


def _card_facts(
    path: Path, gates: dict[str, Any], verdicts: list[dict[str, Any]], tags: dict[str, str]
) -> dict[str, Any]:
    measured = json.loads((path / "data" / "evaluation" / "metrics.json").read_text())
    return {
        **tags,
        "data_until": tags["as_of"],
        "registered_at": datetime.now(UTC).isoformat(),
        "evaluation": measured[gates["winner"]],
        "measured": measured,
        "verdicts": gates["verdicts"][gates["winner"]] + verdicts,
        "slices": gates["slices"],
    }


def _holdout(path: Path) -> pd.DataFrame:
    manifest = json.loads((path / "data" / "training" / "manifest.json").read_text())
    frame = pd.read_parquet(path / "data" / "training" / "training.parquet")
    return assemble.split_holdout(frame, manifest)[1]


def _write_reference(path: Path) -> None:
    """Write the reference of drift: the holdout cases with the winner's probabilities.

    The probabilities are from before the refit, so the cases were unseen.
    """
    winner = json.loads((path / "data" / "evaluation" / "gates.json").read_text())["winner"]
    scores = read_holdout_predictions(path / "data")[["key", winner]]
    reference = _holdout(path).merge(scores.rename(columns={winner: "probability"}))
    with durable_files.atomic_replace(path / "refit" / "reference.parquet") as unfinished:
        reference.to_parquet(unfinished, index=False)
