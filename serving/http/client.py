"""The client of `mlops predict`: sends one case, or a CSV file of cases, to the service."""

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

ROWS_PER_REQUEST = 500


def predict_csv(settings: Settings, source: Path, target: Path) -> Iterator[int]:
    """Write `target`: the rows of `source` (CSV), each with its prediction in further columns.

    The columns of `source` are the fields of a request; an empty cell is null. Yields the number of
    rows done after each request. Writes `target` whole or not at all.
    """
    fields: dict[str, dict[str, Any]] = PredictRequest.model_json_schema()["properties"]
    try:
        with source.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{source} can't be read as CSV: {error}.") from error
    if not rows:
        raise UserError(f"{source} has no rows. Its columns must be {', '.join(fields)}.")
    # `DictReader` keeps further cells of a row under the column None.
    if wrong := [number for number, row in enumerate(rows, 1) if None in row]:
        raise UserError(f"Row {wrong[0]} of {source} has more cells than columns. Quote its texts.")
    with durable_files.atomic_replace(target) as draft, draft.open("w", newline="") as output:
        writer = csv.writer(output)
        for start in range(0, len(rows), ROWS_PER_REQUEST):
            piece = rows[start : start + ROWS_PER_REQUEST]
            cases = [
                {name: _value(fields[name], row[name]) for name in fields.keys() & row.keys()}
                for row in piece
            ]
            predictions = post_json(settings, "/predict_batch", json.dumps({"requests": cases}))
            answers = [
                row | answer for row, answer in zip(piece, predictions["predictions"], strict=True)
            ]
            if start == 0:
                writer.writerow(answers[0])
            writer.writerows(answer.values() for answer in answers)
            yield start + len(piece)


def _value(schema: dict[str, Any], cell: str) -> str | int | None:
    if not cell:
        return None
    is_integer = schema.get("type") == "integer" and cell.lstrip("-").isdigit()
    return int(cell) if is_integer else cell


def post_json(settings: Settings, path: str, body: str) -> dict[str, Any]:
    """Return the service's answer to `body` (JSON).

    Raises `UserError` if the service refuses it, and `LoopError` if it fails or does not answer.
    """
    headers = {"Content-Type": "application/json", **bearer_header(settings)}
    try:
        response = httpx.post(
            settings.service_url + path, content=body, headers=headers, timeout=60
        )  # fmt: skip
    except httpx.HTTPError as error:
        raise LoopError(
            f"The service at {settings.service_url} does not answer ({error!r}). Start it with "
            "`mlops serve`, or set MLOPS_SERVICE_URL to the address of another one."
        ) from error
    if response.status_code == 200:
        content: dict[str, Any] = response.json()
        return content
    kind = UserError if response.status_code < 500 else LoopError
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = response.text[:200]
    raise kind(f"The service answered {response.status_code}: {detail}")
