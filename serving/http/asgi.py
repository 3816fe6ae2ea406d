"""ASGI requests and responses: reads a request's body and id, sends a response."""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from serving.errors import Refusal

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")


class DisconnectedError(Exception):
    """The client closed the connection before its request was complete."""


@dataclass(frozen=True)
class Request:
    """A request as a handler gets it."""

    id: str  # in the response, the prediction log and the log lines
    body: bytes
    client: str  # the name of its token; its address if no token is needed
    headers: dict[bytes, bytes]


@dataclass(frozen=True)
class Response:
    """A response as a handler returns it."""

    body: bytes
    status: int = 200
    content_type: bytes = b"application/json"
    headers: dict[str, str] = field(default_factory=dict)


def choose_request_id(headers: dict[bytes, bytes]) -> str:
    """Return the client's id if it is safe for logs and file names, else a new one."""
    given = headers.get(b"x-request-id", b"")
    return given.decode() if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


async def read_body(headers: dict[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """Return the whole body. Raises `Refusal` (413) if it is longer than `limit` bytes."""
    if headers.get(b"content-length", b"").isdigit() and int(headers[b"content-length"]) > limit:
        raise _too_long(limit)
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise DisconnectedError
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_long(limit)
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def _too_long(limit: int) -> Refusal:
    # The rest of the body stays unread, so the connection can't carry another request.
    return Refusal(
        413, "body too large", f"The body is longer than {limit} bytes. Send less at once.",
        headers={"Connection": "close"},
    )  # fmt: skip


async def send_response(response: Response, request_id: str, send: Send) -> None:
    """Send `response` with its headers and the request's id."""
    headers = [
        (b"content-type", response.content_type),
        (b"content-length", str(len(response.body)).encode()),
        (b"x-request-id", request_id.encode()),
        *((name.lower().encode(), value.encode()) for name, value in response.headers.items()),
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
