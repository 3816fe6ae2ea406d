"""Reads the body of a request, with a limit of bytes and a deadline."""

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from serving.errors import Refusal


async def read_body(
    headers: dict[bytes, bytes], receive: Receive, limit: int, seconds: float
) -> bytearray:
    """Return the whole body.

    Raises `Refusal`: 413 if it is longer than `limit` bytes, 408 if it takes more than `seconds`.
    Raises `ClientDisconnect` if the connection ends before.
    """
    # The rest of a refused body stays unread, so the connection can't carry another request.
    close = {"connection": "close"}
    announced = headers.get(b"content-length", b"")
    size, content, more = int(announced) if announced.isdigit() else 0, bytearray(), True
    try:
        async with asyncio.timeout(seconds):
            while more and size <= limit:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                content += message.get("body", b"")
                size, more = len(content), message.get("more_body", False)
    except TimeoutError as error:
        detail = f"The body did not arrive within {seconds:g} seconds. Send it again."
        raise Refusal(408, "request too slow", detail, headers=close) from error
    if size > limit:
        detail = f"The body is longer than {limit} bytes. Send less at once."
        raise Refusal(413, "body too large", detail, headers=close)
    return content
