"""The client of `mlops predict`: sends one case, or a CSV file of cases, to the service."""

import csv
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from pydantic import BaseModel, ValidationError

from features import durable_files
from serving.http.access import bearer_header
from settings import LoopError, Settings, UserError

ROWS_PER_REQUEST = 500
MAX_FAULTS = 10  # that an error names
Rows = list[tuple[int, dict[str, str]]]  # each with the number of its last line


def predict_csv(settings: Settings, source: Path, target: Path) -> Iterator[int]:
    """Write `target`: the rows of `source` (CSV), each with its prediction in further columns.

    The columns of `source` are the fields of a request; an empty cell is null. Yields the number of
    rows done after each request. Writes `target` whole or not at all. Raises `UserError` with the
    line and the column of a mistake in `source`, before anything is sent.
    """
    request = settings.use_case.request()
    rows = _read_rows(request, source)
    cases = _checked_cases(request, source, rows)
    with durable_files.atomic_replace(target) as draft, draft.open("w", newline="") as output:
        writer = csv.writer(output)
        for start in range(0, len(rows), ROWS_PER_REQUEST):
            end = start + ROWS_PER_REQUEST
            body = json.dumps({"requests": cases[start:end]})
            predictions = post_json(settings, "/predict_batch", body)["predictions"]
            answers = [
                row | answer for (_, row), answer in zip(rows[start:end], predictions, strict=True)
            ]
            if start == 0:
                writer.writerow(answers[0])
            writer.writerows(answer.values() for answer in answers)
            yield start + len(answers)


def _read_rows(request: type[BaseModel], source: Path) -> Rows:
    required = request.model_json_schema()["required"]
    try:
        with source.open(newline="", encoding="utf-8-sig") as file:  # a byte-order mark may lead
            reader = csv.DictReader(file, strict=True)
            names = list(reader.fieldnames or [])
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{source} can't be read as CSV in UTF-8: {error}.") from error
    if missing := [name for name in required if name not in names]:
        raise UserError(
            f"Line 1 of {source} names no column {', '.join(missing)}. Name the columns there, and "
            "separate them by commas, not by semicolons or tabs."
        )
    if len(set(names)) < len(names):
        raise UserError(f"Line 1 of {source} names a column twice. Remove one of them.")
    if not rows:
        raise UserError(f"{source} has no rows. Its columns must be {', '.join(required)}.")
    for line, row in rows:
        # `DictReader` keeps further cells under the column None, and fills up missing ones by None.
        if None in row or None in row.values():
            raise UserError(
                f"Line {line} of {source} has {'more' if None in row else 'fewer'} cells than line "
                f"1, which has {len(names)}. Quote a text that contains a comma."
            )
    return rows


def _checked_cases(request: type[BaseModel], source: Path, rows: Rows) -> list[dict[str, Any]]:
    """Return the rows as the service gets them. Raises `UserError` if it would refuse one."""
    fields: dict[str, dict[str, Any]] = request.model_json_schema()["properties"]
    cases, faults = [], list[str]()
    for line, row in rows:
        case = {name: _value(fields[name], row[name]) for name in fields.keys() & row.keys()}
        cases.append(case)
        try:
            request.model_validate_json(json.dumps(case))
        except ValidationError as error:
            for fault in error.errors(include_url=False, include_context=False):
                column = ".".join(map(str, fault["loc"]))
                faults.append(f"Line {line}, {column}: {fault['msg']}, not {row.get(column)!r}.")
    if faults:
        more = f"\n... and {len(faults) - MAX_FAULTS} more." if len(faults) > MAX_FAULTS else ""
        raise UserError(
            f"{source} has values that the service does not take. Nothing was sent.\n"
            + "\n".join(faults[:MAX_FAULTS]) + more
        )  # fmt: skip
    return cases


def _value(schema: dict[str, Any], cell: str) -> str | int | float | None:
    if not cell:
        return None
    types = {each.get("type") for each in (schema, *schema.get("anyOf", ()))}
    if "integer" in types and re.fullmatch(r"-?\d+", cell, re.ASCII):
        return int(cell)
    if "number" in types:
        with suppress(ValueError):
            return float(cell)
    return cell


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
