"""Requests as bytes, for what an HTTP client does not send, and the responses to them."""

import json
import socket
from typing import Any

HEAD = (
    "POST /predict HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n"
    "Content-Type: application/json\r\n"
)


def post_head(client: str = "greedy") -> bytes:
    """Return a head without its last line, so that a test can add headers."""
    return HEAD.format(client).encode()


def connect(port: int, content: bytes) -> socket.socket:
    """Connect to `port` of this machine and send `content`."""
    connection = socket.create_connection(("127.0.0.1", port), 60)
    connection.sendall(content)
    return connection


def read_to_end(connection: socket.socket) -> bytes:
    """Return all bytes until the other side closes, and close the connection."""
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


def read_refusal(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Return the status and the JSON of an error after which the other side closes."""
    head, _, body = read_to_end(connection).partition(b"\r\n\r\n")
    head = head.lower()
    assert b"connection: close" in head
    error = json.loads(body)
    assert set(error) == {"error", "detail", "fields", "request_id"}
    assert f"x-request-id: {error['request_id']}".encode() in head
    return int(head.split()[1]), error
