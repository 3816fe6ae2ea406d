"""Versions of the registered model, looked up in MLflow's registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipelines.training import mlflow_tracking
from settings import LoopError, Settings, UnreachableError, UserError

REGISTERED_MODEL = "mlops-loop"


def version_of_training(settings: Settings, training_id: str) -> str | None:
    """The version that this training registered; None if it has not."""
    client = mlflow_tracking.mlflow_client(settings)
    found = client.search_model_versions(
        f"name = '{REGISTERED_MODEL}' and tags.training_id = '{training_id}'"
    )
    return str(found[0].version) if found else None


@contextmanager
def reraise_mlflow_errors(settings: Settings) -> Iterator[None]:
    """Whatever MLflow can't do, told: where it was asked, and that what is served stays."""
    import requests
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, requests.RequestException) as error:
        told = f"MLflow at {settings.mlflow_uri} did not do what was asked ({_short(error)})."
        raise UnreachableError(
            f"{mlflow_tracking.redact_credentials(told)} What is served stays as it is. Look at "
            f"it, "
            f"then "
            "run this again: it carries on."
        ) from error


def _short(error: Exception) -> str:
    return (str(error).splitlines() or [repr(error)])[0][:300]


def find_registered_model(client: Any) -> Any | None:
    """The registered model with its tags and aliases; None before the first version."""
    found = client.search_registered_models(f"name = '{REGISTERED_MODEL}'")
    return found[0] if found else None


def find_version(client: Any, version: str) -> Any | None:
    """The version in the registry; None if there is none of this number, or it was deleted."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version(REGISTERED_MODEL, version)
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise
        return None


def require_registered_version(settings: Settings, client: Any, version: str) -> Any:
    """The version in the registry, which has a digest. Raises `UserError` if there is none."""
    found = find_version(client, version)
    if found is None:
        raise UserError(
            f"There is no version {version} in the registry. It was never registered, or it was "
            "deleted there: `mlops history` names the versions that were released."
        )
    if "digest" not in found.tags:
        raise LoopError(
            f"Version {version} has lost its tag `digest` in the registry, so its files can't be "
            "checked. What is served stays as it is. Set the tag again from `digest` in the "
            "facts.json of its run."
        )
    return found


def missing_versions(settings: Settings, *versions: str) -> list[str]:
    """Those of `versions` that the registry does not have, or has no more."""
    with reraise_mlflow_errors(settings):
        client = mlflow_tracking.mlflow_client(settings)
        return [each for each in versions if find_version(client, each) is None]
