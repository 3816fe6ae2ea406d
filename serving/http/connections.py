"""Connections: uvicorn's protocol, with limits that it lacks and errors in the service's format.

uvicorn takes a head of any size and waits for it for ever: one header of 145 MB blocks every other
request for seconds. Here the head has a size and a deadline, and connections have a number.
"""

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.errors import Refusal, too_many
from serving.http.api import Api

MAX_HEAD = 32 * 1024  # bytes of the request line and all headers
LINGER_SECONDS = 2.0  # for a client that still sends, so that it can read why it was refused


class BoundedProtocol(HttpToolsProtocol):
    """One connection. The service sets `api`, which answers the requests of all connections."""

    api: ClassVar[Api]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Past BentoML's middlewares: its own time limit answers in another format.
        self.app = self.api
        self.ws_protocol_class = None  # the service has no WebSockets
        self._unparsed = 0  # bytes since the parser last passed on a head or a piece of a body
        self._refused = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.api.settings.connections_at_once:
            self._refuse(too_many("overloaded"))
        else:
            self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        start = 0
        while start < len(data) and not self._refused:
            end = start + MAX_HEAD - self._unparsed
            piece = data[start:end]
            start = end
            self._unparsed += len(piece)
            super().data_received(piece)
            if self._unparsed >= MAX_HEAD:
                detail = f"A request's line and headers may have {MAX_HEAD} bytes together."
                self._refuse(Refusal(431, "head too large", detail))
        if not self._unparsed:
            self._end_deadline()
        elif self._deadline is None:
            self._start_deadline()

    def on_headers_complete(self) -> None:
        self._unparsed = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are not HTTP. uvicorn calls this; its own response is plain text."""
        self._refuse(Refusal(400, "malformed HTTP", "The request is not valid HTTP/1.1."))

    def _start_deadline(self) -> None:
        seconds = self.api.settings.receive_seconds
        self._deadline = self.loop.call_later(seconds, self._refuse_late_head)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse_late_head(self) -> None:
        if self._unparsed:
            detail = "The request's line and headers did not arrive in time."
            self._refuse(Refusal(408, "request too slow", detail))
        else:
            self.transport.close()  # an unused connection needs no answer

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what never becomes a request, and close the connection."""
        self._refused = True
        self._end_deadline()
        if (cycle := self.cycle) is not None and not cycle.response_complete:
            if not cycle.more_body:  # an earlier request of this connection has no answer yet
                self.transport.close()
                return
            cycle.disconnected = True
            cycle.message_event.set()
        response = self.api.refuse_unparsed(refusal)
        head = [STATUS_LINE[response.status]]
        for name, value in response.headers.items():
            head.append(f"{name}: {value}\r\n".encode())
        self.transport.write(b"".join([*head, b"connection: close\r\n\r\n", response.body]))
        if self.transport.can_write_eof():  # not with TLS
            self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)
