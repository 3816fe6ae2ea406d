"""Which request is answered by what? Every request of the service passes here, and only here.

It stands before BentoML's own routes (as an ASGI middleware, BentoML's way to add one), so that
each answer, whatever the mistake, has one format, no path can become a label of a metric, and the
hot path is one call: BentoML's own endpoint, with Starlette's routing, its context and its
serialisers, takes longer for the same answer (docs/serving.md).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from serving.errors import Refusal, invalid_request, part_unavailable
from serving.http import asgi
from serving.http.access import AccessControl, Role
from serving.http.asgi import DisconnectedError, Receive, Request, Response, Send
from settings import LoopError

if TYPE_CHECKING:
    from serving.metrics import Metrics

logger = logging.getLogger("serving")


@dataclass(frozen=True)
class Route:
    """A handler, and what must hold before it is called."""

    method: str
    handle: Callable[[Request], Response]
    role: Role | None  # that a token needs; None: anyone may
    limit: int = 0  # bytes of the body
    heavy: bool = False  # it computes for long, so it does so in a thread


class Api:
    """An ASGI application. `most` requests are under way at once; more have to wait."""

    def __init__(
        self, routes: Mapping[str, Route], access: AccessControl, metrics: Metrics, most: int
    ) -> None:
        self._routes, self._access, self._metrics, self._most = routes, access, metrics, most
        self._under_way = 0
        self._heavy = asyncio.Semaphore(1)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        headers = dict(scope["headers"])
        path = scope["path"]
        route = self._routes.get(path)
        identity = asgi.choose_request_id(headers)
        self._under_way += 1
        self._metrics.under_way.set(self._under_way)
        try:
            answer = await self._answer(route, scope, headers, identity, receive)
        except DisconnectedError:
            return
        except Refusal as refused:
            answer = _refusal(refused, identity, route, path)
        except LoopError as error:
            answer = _refusal(part_unavailable("unavailable", str(error)), identity, route, path)
        except Exception:
            # What nobody foresaw is not hidden: the traceback is logged, the 500 told and counted.
            told = {"request_id": identity, "path": path if route else "other", "status": 500}
            logger.exception("request failed", extra=told)
            why = "This is a fault of the service. Its log has the request's id."
            answer = Response(Refusal(500, "internal error", why).body(identity), 500)
        finally:
            self._under_way -= 1
            self._metrics.under_way.set(self._under_way)
        # Counted before it is sent: who has the answer finds it counted.
        self._metrics.request(path if route else "other", answer.status, began)
        await asgi.send_response(answer, identity, send)

    async def _answer(
        self, route: Route | None, scope: Any, headers: dict[bytes, bytes], identity: str,
        receive: Receive,
    ) -> Response:  # fmt: skip
        if route is None:
            raise Refusal(404, "unknown path", "GET / names the paths that there are.")
        method = scope["method"]
        if method != route.method and not (method == "HEAD" and route.method == "GET"):
            raise Refusal(
                405, "wrong method", f"This path takes {route.method}.",
                headers={"Allow": route.method},
            )  # fmt: skip
        client = self._access.admit(route.role, headers, scope.get("client"))
        if route.method == "GET":
            return route.handle(Request(identity, b"", client, headers))
        if self._under_way > self._most:
            raise self._overloaded()
        _require_json(headers)
        content = await asgi.read_body(headers, receive, route.limit)
        # All that has arrived is counted before any of it is computed, or the bound would be none.
        await asyncio.sleep(0)
        if self._under_way > self._most:
            raise self._overloaded()
        request = Request(identity, content, client, headers)
        try:
            if route.heavy:
                async with self._heavy:
                    return await asyncio.to_thread(route.handle, request)
            return route.handle(request)
        except ValidationError as error:
            raise invalid_request(error) from error

    def _overloaded(self) -> Refusal:
        self._metrics.overloaded.inc()
        return Refusal(
            429, "overloaded", f"{self._most} requests are under way. Ask again in a second.",
            headers={"Retry-After": "1"},
        )  # fmt: skip


def _refusal(refused: Refusal, identity: str, route: Route | None, path: str) -> Response:
    """The answer, and a line about it that holds no word of what the client has sent."""
    told: dict[str, Any] = {
        "request_id": identity, "path": path if route else "other", "status": refused.status,
        "error": refused.error,
    }  # fmt: skip
    if refused.status >= 500:
        logger.warning("request failed", extra=told | {"detail": refused.detail})
    else:
        logger.info("request refused", extra=told)
    return Response(refused.body(identity), refused.status, headers=refused.headers)


def _require_json(headers: dict[bytes, bytes]) -> None:
    given = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    if given != b"application/json":
        raise Refusal(
            415, "wrong content type", "The body must be application/json, and must be said to be."
        )
