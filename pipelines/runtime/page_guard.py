"""The guard of the pages that we start: only this machine's names, and nothing from elsewhere.

A web page elsewhere can reach a server on the loopback through the user's browser: under a name
that its owner lets point to 127.0.0.1, or directly. A page of ours must not ask another machine:
Prefect's loads the session recorder of an analytics service, whatever its settings are.
"""

import sys

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from settings import Settings

# Prefect's page may be open under one name of this machine, and its API under another.
OWN_SERVERS = "'self' http://localhost:* http://127.0.0.1:* ws://localhost:* ws://127.0.0.1:*"
CONTENT_POLICY = (
    f"default-src {OWN_SERVERS} data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'self'"
)


class PageGuard:
    """ASGI middleware: refuses a foreign `Host` or `Origin`, and limits what a page may load."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = CONTENT_POLICY
            await send(message)

        problem = "" if scope["type"] == "lifespan" else self._find_problem(Headers(scope=scope))
        if not problem:
            await self._app(scope, receive, send_with_policy)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": problem})
        else:
            await PlainTextResponse(f"{problem}\n", 403)(scope, receive, send_with_policy)

    def _find_problem(self, headers: Headers) -> str:
        origin = headers.get("origin")  # of the page that asks, if it is not a plain link
        for name, value in (
            ("Host", headers.get("host", "localhost")),
            ("Origin", "localhost" if origin is None else origin.partition("://")[2]),
        ):
            if not self._settings.is_own_host(value):
                return f"The header {name} names a foreign host. See MLOPS_ALLOWED_HOSTS."
        return ""


def guarded_server_command(factory: str, port: int, host: str = "127.0.0.1") -> list[str]:
    """Return the command that serves an application of this file, or of another module.

    `factory` is `module:function`; its application passes through `PageGuard`.
    """
    return [
        sys.executable, "-m", "uvicorn", "--factory", factory, "--host", host, "--port", str(port),
        "--log-level", "warning",
    ]  # fmt: skip


def prefect_app() -> ASGIApp:
    """Return Prefect's server as `prefect server start` runs it."""
    from prefect.server.api.server import create_app

    return PageGuard(create_app(final=True), Settings())


def evidently_app() -> ASGIApp:
    """Return Evidently's pages on `var/usecases/<name>/evidently`."""
    from evidently.ui.service.app import create_app, get_config

    settings = Settings()
    return PageGuard(create_app(get_config(workspace=f"{settings.state}/evidently")), settings)
