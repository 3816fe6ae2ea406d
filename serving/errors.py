"""Error responses: one JSON format for every route and every reason.

`{"error": "invalid request", "detail": "...", "fields": [{"field": ..., "reason": ...}],
"request_id": "..."}`. docs/serving.md lists the reasons.
"""

from collections.abc import Mapping, Sequence

from pydantic import ValidationError
from pydantic_core import to_json

MAX_FIELDS = 20  # a body may hold a thousand wrong rows; the response names the first faults only
TOO_MANY = {
    "too many requests": "This client exceeds its requests per second. Ask again in a second.",
    "overloaded": "The service accepts no more at once from this client. Ask again in a second.",
}


class Refusal(Exception):  # noqa: N818 -- a response, not a fault of the service
    """An error response: a status from 400 on, and what the client has to know."""

    def __init__(
        self, status: int, error: str, detail: str, *, fields: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(detail)
        self.status, self.error, self.detail = status, error, detail
        self.fields, self.headers = fields, dict(headers or {})

    def body(self, request_id: str) -> bytes:
        """Return the response's JSON."""
        names = {"error": self.error, "detail": self.detail, "fields": self.fields}
        return to_json({**names, "request_id": request_id})


def invalid_request(error: ValidationError) -> Refusal:
    """Return a 400 that names the faulty fields. It never repeats the client's input."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    fields = [
        {"field": ".".join(map(str, fault["loc"])), "reason": fault["msg"]}
        for fault in faults[:MAX_FIELDS]
    ]
    detail = "; ".join(f"{one['field'] or 'body'}: {one['reason']}" for one in fields[:3])
    more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
    return Refusal(400, "invalid request", detail + more, fields=fields)


def too_many(error: str) -> Refusal:
    """Return a 429 for one of the reasons in `TOO_MANY`."""
    return Refusal(429, error, TOO_MANY[error], headers={"retry-after": "1"})


def part_unavailable(error: str, detail: str) -> Refusal:
    """Return a 503: this replica lacks a part that the response needs. Another may have it."""
    return Refusal(503, error, detail, headers={"retry-after": "1"})
