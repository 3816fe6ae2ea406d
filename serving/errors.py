"""What is a client told that can't be served? One format, for every route and every reason.

`{"error": "invalid request", "detail": "...", "fields": [{"field": ..., "reason": ...}],
"request_id": "..."}`; the table of reasons stands in docs/serving.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError
from pydantic_core import to_json

MAX_FIELDS = 20  # that are told of one request: a body of a thousand wrong rows is told briefly


class Refusal(Exception):  # noqa: N818 -- an answer as any other
    """An answer with a status from 400 on, told to whoever asked."""

    def __init__(
        self, status: int, error: str, detail: str, *, fields: list[dict[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(detail)
        self.status, self.error, self.detail = status, error, detail
        self.fields, self.headers = fields or [], dict(headers or {})

    def body(self, request_id: str) -> bytes:
        return to_json(
            {
                "error": self.error, "detail": self.detail, "fields": self.fields,
                "request_id": request_id,
            }
        )  # fmt: skip


def invalid_request(error: ValidationError) -> Refusal:
    """What is wrong with a body, field by field; never what the client has sent in it."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    fields = [
        {"field": ".".join(map(str, one["loc"])), "reason": one["msg"]}
        for one in found[:MAX_FIELDS]
    ]
    told = "; ".join(f"{one['field'] or 'body'}: {one['reason']}" for one in fields[:3])
    more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
    return Refusal(400, "invalid request", told + more, fields=fields)


def part_unavailable(error: str, detail: str) -> Refusal:
    """A part that this answer needs is away; another replica may have it."""
    return Refusal(503, error, detail, headers={"Retry-After": "1"})
