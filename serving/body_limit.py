"""Is a request's body of a size that we are ready to read? BentoML itself sets no limit."""

from __future__ import annotations

from http import HTTPStatus

from bentoml.exceptions import BentoMLException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI middleware: whoever reads more than `limit` bytes of a body gets 413 in return."""

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.limit:
                raise BentoMLException(
                    f"The body is longer than {self.limit} bytes.",
                    error_code=HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                )
            return message

        await self.app(scope, counted, send)
