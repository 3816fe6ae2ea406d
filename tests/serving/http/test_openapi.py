"""Does the service keep to its own OpenAPI, whatever it is sent? Asked by schemathesis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from serving.http.routes import openapi_json
from serving.wiring import ServiceParts
from settings import Settings
from tests.serving.in_process import service_parts

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_schema_conformance, negative_data_rejection,
]  # fmt: skip
POSITIVE, NEGATIVE = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceParts]:
    parts = service_parts(Settings(home=tmp_path_factory.mktemp("home"), requests_per_second=1e6))
    yield parts
    parts.close()


@pytest.fixture(scope="module")
def schema(parts: ServiceParts) -> Any:
    return schemathesis.openapi.from_asgi("/docs.json", parts.api)


OPERATIONS = [
    (path, mode)
    for path, methods in json.loads(openapi_json())["paths"].items()
    for mode in ((POSITIVE, NEGATIVE) if "post" in methods else (POSITIVE,))
]


@pytest.mark.parametrize(("path", "mode"), OPERATIONS)
def test_it_keeps_to_its_own_schema(path: str, mode: Any, schema: Any) -> None:
    operation = next(one.ok() for one in schema.get_all_operations() if one.ok().path == path)

    @settings(
        max_examples=10, deadline=None, derandomize=True, database=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def holds(case: Any) -> None:
        case.call_and_validate(checks=CHECKS)

    holds()
