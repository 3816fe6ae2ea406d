"""From a training that passed its gates to a version in the registry: refit, check, register."""

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
from pipelines.registry.versions import REGISTERED_MODEL, version_of_training
from pipelines.training import assemble, mlflow_tracking
from pipelines.training.train import read_holdout_predictions
from settings import Settings


def register_version(settings: Settings, path: Path, md5s: dict[str, str]) -> dict[str, Any]:
    """Registers the winner of the training in `path`, refitted on all that it knows.

    Returns `version` (None if every candidate, or the refit as an artefact, was refused), `why`,
    and the verdicts on the artefact. A training that is registered already is found by its tag.
    """
    found = json.loads((path / "data" / "evaluation" / "gates.json").read_text())
    if found["winner"] is None:
        return {"version": None, "why": describe_refusals(found["verdicts"]), "verdicts": []}
    existing = version_of_training(settings, path.name)
    if existing is not None:
        return {"version": existing, "why": "registered before", "verdicts": []}
    governance.parse_governance(
        model_card.read_use_case_card()
    )  # before anything is fitted for nobody's model
    digest = refit_winner(path, found["winner"])
    verdicts = run_source_gates(settings, path, md5s)
    verdicts += run_refit_gates(path, found["winner"], digest)
    refused = [verdict for verdict in verdicts if not verdict["passed"]]
    if refused:
        why = describe_refusals({f"refit of {found['winner']}": verdicts})
        return {"version": None, "why": why, "verdicts": verdicts}
    version = _create_version(settings, path, found, verdicts, md5s, digest)
    return {"version": version, "why": "passed every gate", "verdicts": verdicts}


def describe_refusals(verdicts: dict[str, list[dict[str, Any]]]) -> str:
    """Which gate refused which candidate, and by how much."""
    parts = []
    for name, judged in verdicts.items():
        for each in judged:
            if not each["passed"]:
                margin = f" by {abs(each['margin']):.4g}" if each["margin"] is not None else ""
                parts.append(f"{name} refused by '{each['gate']}'{margin} ({each['told']})")
    return "; ".join(parts)


def run_refit_gates(path: Path, winner: str, digest: str) -> list[dict[str, Any]]:
    """The verdicts of the artefact's gates on the refit."""
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
    """The verdicts on what the training in `path` was made from, and on the online store."""
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
    settings: Settings, path: Path, found: dict[str, Any], verdicts: list[dict[str, Any]],
    md5s: dict[str, str], digest: str,
) -> str:  # fmt: skip
    from pipelines.registry import explanations, model_card_page
    from pipelines.training import lineage
    from serving.models import skops_file
    from usecase.columns import FEATURES

    tags = lineage.lineage_tags(path, md5s) | {"candidate": found["winner"], "digest": digest}
    facts = _facts(path, found, verdicts, tags) | explanations.explanation_facts(
        path, found["winner"]
    )
    whole = model_card.render_model_card(model_card.read_use_case_card(), facts)
    client = mlflow_tracking.mlflow_client(settings)
    with mlflow_tracking.start_run(
        settings, f"refit {tags['as_of'][:10]}", tags | {"refit": "true"}
    ) as started:
        run_id = started.info.run_id
        model = skops_file.load_skops((path / "refit" / "model.skops").read_bytes())
        logged = mlflow_tracking.log_model(
            settings, model, _holdout(path)[FEATURES].tail(5), run_id
        )
        client.log_dict(run_id, facts, "facts.json")
        client.log_text(run_id, whole, "card.md")
        page = model_card_page.render_model_card_page(
            model_card.read_use_case_card(), facts, read_holdout_predictions(path / "data")
        )
        client.log_text(run_id, page, "card.html")
        client.log_artifacts(run_id, str(path / "refit" / "served"), "served")
        client.log_artifact(run_id, str(path / "usecase" / "params.yaml"))
        _write_reference(path)
        client.log_artifact(run_id, str(path / "refit" / "reference.parquet"))
    if not client.search_registered_models(f"name = '{REGISTERED_MODEL}'"):
        client.create_registered_model(REGISTERED_MODEL)
    # The version is made last and with its tags at once: until then nothing is registered.
    made = client.create_model_version(
        REGISTERED_MODEL, logged.model_uri, run_id, model_id=logged.model_id,
        tags=tags | {"data_until": tags["as_of"]},
        description=model_card.render_registry_description(model_card.read_use_case_card(), facts),
    )  # fmt: skip
    return str(made.version)


def _facts(
    path: Path, found: dict[str, Any], verdicts: list[dict[str, Any]], tags: dict[str, str]
) -> dict[str, Any]:
    measured = json.loads((path / "data" / "evaluation" / "metrics.json").read_text())
    return {
        **tags,
        "data_until": tags["as_of"],
        "registered_at": datetime.now(UTC).isoformat(),
        "evaluation": measured[found["winner"]],
        "measured": measured,
        "verdicts": found["verdicts"][found["winner"]] + verdicts,
        "slices": found["slices"],
    }


def _holdout(path: Path) -> pd.DataFrame:
    manifest = json.loads((path / "data" / "training" / "manifest.json").read_text())
    frame = pd.read_parquet(path / "data" / "training" / "training.parquet")
    return assemble.split_holdout(frame, manifest)[1]


def _write_reference(path: Path) -> None:
    """What drift is measured against: the newest training cases with the scores of the refit.

    Holdout cases, so that the evaluated model's scores are on unseen cases.
    """
    found = json.loads((path / "data" / "evaluation" / "gates.json").read_text())
    scores = read_holdout_predictions(path / "data")[["key", found["winner"]]]
    reference = _holdout(path).merge(scores.rename(columns={found["winner"]: "probability"}))
    with durable_files.atomic_replace(path / "refit" / "reference.parquet") as unfinished:
        reference.to_parquet(unfinished, index=False)
