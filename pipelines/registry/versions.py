"""Lookup of the use case's registered model and its versions in MLflow's registry.

The model has the name of the use case.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipelines.training import mlflow_tracking
from settings import LoopError, Settings, UnreachableError, UserError


def version_of_training(settings: Settings, training_id: str) -> str | None:
    """Return the version that this training registered; None if there is none."""
    client = mlflow_tracking.mlflow_client(settings)
    registered = client.search_model_versions(
        f"name = '{settings.usecase}' and tags.training_id = '{training_id}'"
    )
    return str(registered[0].version) if registered else None


@contextmanager
def reraise_mlflow_errors(settings: Settings) -> Iterator[Any]:
    """Yield MLflow's client; re-raise its errors as `UnreachableError` with the URI.

    Serving is unaffected.
    """
    import requests
    from mlflow.exceptions import MlflowException

    try:
        yield mlflow_tracking.mlflow_client(settings)
    except (MlflowException, requests.RequestException) as error:
        reason = (str(error).splitlines() or [repr(error)])[0][:300]
        problem = f"MLflow at {settings.mlflow_uri} failed ({reason})."
        redacted = re.sub(r"//[^/@\s]*@", "//", problem)  # without user names and passwords
        raise UnreachableError(
            f"{redacted} Serving is unaffected. Check MLflow, then run the command again: it "
            "continues where it stopped.",
            code="mlflow_unreachable",
        ) from error


def find_registered_model(settings: Settings, client: Any) -> Any | None:
    """Return the registered model with its tags and aliases; None before the first version."""
    models = client.search_registered_models(f"name = '{settings.usecase}'")
    return models[0] if models else None


def find_version(settings: Settings, client: Any, version: str) -> Any | None:
    """Return the version; None if it does not exist or was deleted."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version(settings.usecase, version)
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise
        return None


def require_registered_version(settings: Settings, client: Any, version: str) -> Any:
    """Return the version with its tag `digest`.

    Raises `UserError` if there is no such version, `LoopError` if it lost the tag.
    """
    registered = find_version(settings, client, version)
    if registered is None:
        raise UserError(
            f"There is no version {version} in the registry: it was never registered, or it was "
            "deleted. Run `mlops history` to see the released versions.",
            code="version_unknown",
        )
    if "digest" not in registered.tags:
        raise LoopError(
            f"Version {version} has lost its tag `digest` in the registry, so its files can't be "
            "checked. Serving is unaffected. Set the tag again from `digest` in the facts.json of "
            "its run.",
            code="digest_lost",
        )
    return registered


def missing_versions(settings: Settings, *versions: str) -> list[str]:
    """Return those of `versions` that do not exist in the registry or were deleted."""
    with reraise_mlflow_errors(settings) as client:
        return [each for each in versions if find_version(settings, client, each) is None]
