"""How does a person ask the service? One case, or a file of them, with its refusals in words."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from features import durable_files
from serving.http.access import bearer_header
from settings import LoopError, Settings, UserError
from usecase.request import PredictRequest

ROWS_PER_REQUEST = 500  # of a file that are asked at once


def predict_case(settings: Settings, text: str) -> dict[str, Any]:
    """The answer to the case that `text` (JSON) is. Raises `UserError` for what is refused."""
    return _asked(settings, "/predict", text)


def predict_csv(settings: Settings, source: Path, target: Path) -> Iterator[int]:
    """Writes `target`: the rows of `source` (CSV) with the answers beside them.

    Yields how many rows are done, after each piece. The columns are the fields of a request; an
    empty cell is null. `target` is there whole, or not at all.
    """
    rows = _rows(source)
    with durable_files.atomic_replace(target) as draft, draft.open("w", newline="") as output:
        writer: Any = None
        for start in range(0, len(rows), ROWS_PER_REQUEST):
            piece = rows[start : start + ROWS_PER_REQUEST]
            body = json.dumps({"requests": [_request(row) for row in piece]})
            answers = _asked(settings, "/predict_batch", body)["predictions"]
            for row, answer in zip(piece, answers, strict=True):
                if writer is None:
                    writer = csv.DictWriter(output, [*row, *answer])
                    writer.writeheader()
                writer.writerow(row | answer)
            yield min(start + ROWS_PER_REQUEST, len(rows))


def _rows(source: Path) -> list[dict[str, str]]:
    try:
        with source.open(newline="") as given:
            rows = list(csv.DictReader(given))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{source} can't be read as CSV: {error}") from error
    if not rows:
        raise UserError(f"{source} has no rows. Its columns are {', '.join(_fields())}.")
    return rows


def _fields() -> dict[str, Any]:
    found: dict[str, Any] = PredictRequest.model_json_schema()["properties"]
    return found


def _request(row: dict[str, str]) -> dict[str, Any]:
    fields = _fields()
    return {
        name: None if value == "" else int(value) if _whole(fields[name], value) else value
        for name, value in row.items()
        if name in fields
    }


def _whole(schema: dict[str, Any], value: str) -> bool:
    return schema.get("type") == "integer" and value.lstrip("-").isdigit()


def _asked(settings: Settings, path: str, body: str) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", **bearer_header(settings)}
    try:
        answer = httpx.post(
            settings.service_url + path, content=body, headers=headers, timeout=60
        )  # fmt: skip
    except httpx.HTTPError as error:
        raise LoopError(
            f"The service at {settings.service_url} does not answer ({error!r}): `mlops serve` "
            "starts one; MLOPS_SERVICE_URL names another."
        ) from error
    if answer.status_code == 200:
        found: dict[str, Any] = answer.json()
        return found
    kind = UserError if answer.status_code < 500 else LoopError
    try:
        told = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        told = answer.text[:200]
    raise kind(f"The service answered {answer.status_code}: {told}")
