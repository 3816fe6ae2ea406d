"""How is a request read and an answer sent? The few lines of ASGI below the routes."""

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
    """The client has gone before its request was there: there is nobody to answer."""


@dataclass(frozen=True)
class Request:
    """What a handler sees: the id that goes with it everywhere, the body, and who asks."""

    id: str
    body: bytes
    client: str  # whose token it is, or its address where none is wanted
    headers: dict[bytes, bytes]


@dataclass(frozen=True)
class Response:
    body: bytes
    status: int = 200
    content_type: bytes = b"application/json"
    headers: dict[str, str] = field(default_factory=dict)


def choose_request_id(headers: dict[bytes, bytes]) -> str:
    """The client's own, if it is a sane one: it ends up in logs and in file names."""
    given = headers.get(b"x-request-id", b"")
    return given.decode() if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


async def read_body(headers: dict[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """The whole body. Raises `Refusal` once it is known to be longer than `limit` bytes."""
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
    # The rest of the body is not read: the connection can carry no other request.
    return Refusal(
        413, "body too large", f"The body is longer than {limit} bytes.",
        headers={"Connection": "close"},
    )  # fmt: skip


async def send_response(answer: Response, request_id: str, send: Send) -> None:
    headers = [
        (b"content-type", answer.content_type),
        (b"content-length", str(len(answer.body)).encode()),
        (b"x-request-id", request_id.encode()),
        *((name.lower().encode(), value.encode()) for name, value in answer.headers.items()),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
