"""The service's ASGI application: routes every request, and turns errors into responses.

uvicorn's protocol calls it (`connections.py`), before BentoML's middlewares and routes. So every
response has one error format, no requested path becomes a metric label, and the hot path is one
call. BentoML's own endpoints (Starlette's routing, a context, serialisers) take longer for the same
response: docs/decisions/12-a-front-of-our-own.md.
"""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from serving.errors import TOO_MANY, Refusal, invalid_request, part_unavailable, too_many
from serving.http.access import AccessControl, Role
from serving.http.body import read_body
from serving.http.shares import Shares
from serving.remedies import describe_error
from serving.wiring import ServiceParts
from settings import LoopError

logger = logging.getLogger("serving")
REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")  # safe for logs and file names


class Request(NamedTuple):
    """A request as a handler gets it."""

    id: str  # in the response, the prediction log and the log lines
    client: str  # the name of its token; its address if no token is needed
    body: Any  # an instance of the route's `request`
    digest: str  # of the body's bytes


class Response(NamedTuple):
    """A response. A handler returns one only if its body is not JSON."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = {}


@dataclass(frozen=True)
class Route:
    """A handler, the schemas of its JSON, and the conditions under which it is called."""

    method: str
    handle: Callable[[ServiceParts, Request], Any]
    summary: str
    response: type | None = None  # None: not in the OpenAPI document
    request: type[BaseModel] | None = None  # None: no body
    role: Role | None = None  # that a token needs; None: open to anyone
    limit: int = 0  # bytes of the body
    heavy: bool = False  # takes long, so it runs in a thread, one at a time
    many_rows: bool = False  # its body is a list of cases


class Api:
    """The ASGI application. Answers 429 to a client that exceeds its share of what may run."""

    def __init__(
        self, routes: Mapping[str, Route], parts: ServiceParts, access: AccessControl
    ) -> None:
        self._routes, self._parts, self._access = routes, parts, access
        self._metrics, self.settings = parts.metrics, parts.settings
        self.requests = Shares(self.settings.requests_at_once)
        self.rows = Shares(self.settings.rows_at_once)
        self._metrics.create_series(routes)
        self._metrics.under_way.set_function(lambda: self.requests.in_use)
        self._metrics.rows_under_way.set_function(lambda: self.rows.in_use)
        self._heavy = asyncio.Semaphore(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        headers = dict(scope["headers"])
        route = self._routes.get(scope["path"])
        label = scope["path"] if route else "other"
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        try:
            response = await self._respond(route, scope, headers, request_id, receive)
        except ClientDisconnect:
            return
        except Exception as error:
            response = _refuse(error, request_id, label)
        # Counted before it is sent: a client that has its response finds it in the metrics.
        self._metrics.count_request(label, response.status, began)
        sent = _all_headers(response, request_id)
        encoded = [(name.encode(), value.encode()) for name, value in sent.items()]
        await send({"type": "http.response.start", "status": response.status, "headers": encoded})
        await send({"type": "http.response.body", "body": response.body})

    def refuse_unparsed(self, refusal: Refusal) -> Response:
        """Return the response, with all headers, to what never became a request."""
        request_id = uuid.uuid4().hex
        response = _refuse(refusal, request_id, "other")
        self._metrics.count_request("other", response.status, time.perf_counter())
        return response._replace(headers=_all_headers(response, request_id))

    async def _respond(
        self, route: Route | None, scope: Scope, headers: dict[bytes, bytes], request_id: str,
        receive: Receive,
    ) -> Response:  # fmt: skip
        if route is None:
            raise Refusal(404, "unknown path", "GET / lists the paths.")
        if scope["method"] != route.method and (scope["method"], route.method) != ("HEAD", "GET"):
            raise Refusal(
                405, "wrong method", f"This path takes {route.method}.",
                headers={"allow": route.method},
            )  # fmt: skip
        client = self._access.admit(route.role, headers, scope.get("client"))
        if route.request is None:
            return self._handle(route, request_id, client, b"")
        # The stack's proxy limits all replicas together, and has a replica word and count it.
        if (reason := headers.get(b"x-refusal", b"").decode("latin-1")) in TOO_MANY:
            raise self._excess(reason)
        kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        packed = headers.get(b"content-encoding", b"identity").lower() != b"identity"
        if kind != b"application/json" or packed:
            raise Refusal(
                415, "wrong content type",
                "Send JSON with the header Content-Type: application/json, not compressed.",
                headers={"accept-encoding": "identity"} if packed else {},
            )  # fmt: skip
        with self._metrics.receiving.track_inprogress():  # it has no place yet
            seconds = self.settings.receive_seconds
            content = await read_body(headers, receive, route.limit, seconds)
        # Each row is an object within the body's own: this counts at least as many, unparsed.
        rows = max(content.count(b"{") - 1, 1) if route.many_rows else 1
        self.requests.take(client, 1)
        self.rows.take(client, rows)
        try:
            # Count all requests that have arrived before computing one. Otherwise each would be
            # alone, and the limit would never apply.
            await asyncio.sleep(0)
            if self.requests.exceeded(client, 1) or self.rows.exceeded(client, rows):
                raise self._excess("overloaded")
            if route.heavy:
                async with self._heavy:
                    return await asyncio.to_thread(self._handle, route, request_id, client, content)
            return self._handle(route, request_id, client, content)
        finally:
            self.requests.give_back(client, 1)
            self.rows.give_back(client, rows)

    def _handle(
        self, route: Route, request_id: str, client: str, content: bytes | bytearray
    ) -> Response:
        try:
            body = route.request.model_validate_json(content) if route.request else None
        except ValidationError as error:
            raise invalid_request(error) from error
        digest = sha256(content).hexdigest()[:32]
        result = route.handle(self._parts, Request(request_id, client, body, digest))
        return result if isinstance(result, Response) else Response(to_json(result))

    def _excess(self, reason: str) -> Refusal:
        if reason == "overloaded":
            self._metrics.overloaded.inc()
        return too_many(reason)


def _all_headers(response: Response, request_id: str) -> dict[str, str]:
    return {
        "content-type": response.content_type, "content-length": str(len(response.body)),
        "x-request-id": request_id, **response.headers,
    }  # fmt: skip


def _refuse(error: Exception, request_id: str, label: str) -> Response:
    """Log why there is no answer, without any of the client's input; return the response."""
    if isinstance(error, LoopError):
        error = part_unavailable("unavailable", describe_error(error))
    detail = "The service failed. Its log has the details under this request id."
    refusal = error if isinstance(error, Refusal) else Refusal(500, "internal error", detail)
    fields: dict[str, Any] = {
        "request_id": request_id, "path": label, "status": refusal.status, "error": refusal.error,
    }  # fmt: skip
    if refusal is not error:  # unforeseen
        logger.error("request failed", extra=fields, exc_info=error)
    elif refusal.status >= 500:
        logger.warning("request failed", extra=fields | {"detail": refusal.detail})
    else:
        logger.info("request refused", extra=fields)
    return Response(refusal.body(request_id), refusal.status, headers=refusal.headers)
