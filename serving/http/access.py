"""Who may ask, and how often? Bearer tokens by role, kept as hashes; a rate for each client.

A file has a line a token: `<role> <sha256 of the token> <name>`. Off the loopback the service does
not start without one.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import time
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, get_args

from serving.errors import Refusal
from settings import Settings, UserError

Role = Literal["predict", "feedback", "admin"]
TOKEN_LINE = re.compile(r"(?P<role>\w+)[\s:]+(?P<digest>[0-9a-f]{64})(?:[\s:]+(?P<name>[\w.-]+))?")
TOKEN_WANTED = {"WWW-Authenticate": 'Bearer realm="mlops"'}


@dataclass(frozen=True)
class Token:
    role: Role
    digest: str  # sha256 of the token, in hexadecimal
    name: str  # of the client, for logs and limits


def parse_tokens(text: str) -> tuple[Token, ...]:
    """The tokens in `text`. Raises `UserError`, which names the line, if one can't be read."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not (line := line.split("#")[0].strip()):
            continue
        match = TOKEN_LINE.fullmatch(line)
        if match is None or match["role"] not in get_args(Role):
            raise UserError(
                f"Line {number} of the tokens is not `role sha256 name` with a role of "
                f"{', '.join(get_args(Role))}. `mlops token ROLE NAME` draws one."
            )
        role: Role = match["role"]  # type: ignore[assignment]
        found.append(Token(role, match["digest"], match["name"] or f"token-{number}"))
    return tuple(found)


def configured_tokens(settings: Settings) -> tuple[Token, ...]:
    """Those that the settings name: of the file, and of the text with commas for lines."""
    text = settings.tokens.get_secret_value() if settings.tokens else ""
    found = parse_tokens(text.replace(",", "\n"))
    if settings.tokens_file is not None:
        try:
            found += parse_tokens(settings.tokens_file.read_text())
        except OSError as error:
            raise UserError(f"The tokens can't be read: {error}.") from error
    return found


def bearer_header(settings: Settings) -> dict[str, str]:
    """The header by which a client of ours says who it is; none if it was given no token."""
    if settings.token is None:
        return {}
    return {"Authorization": f"Bearer {settings.token.get_secret_value()}"}


def require_tokens(settings: Settings) -> None:
    """Raises `UserError` if others could reach the service and nobody would be asked who he is."""
    if not _loopback(settings.service_host) and not configured_tokens(settings):
        raise UserError(
            f"The service would listen on {settings.service_host} without a token. Set "
            "MLOPS_TOKENS_FILE or MLOPS_TOKENS (`mlops token predict NAME` draws a line for them), "
            "or listen on 127.0.0.1."
        )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class AccessControl:
    """Judges the sender of each request. With no tokens at all, everyone may do everything."""

    def __init__(self, settings: Settings) -> None:
        require_tokens(settings)
        self._tokens = configured_tokens(settings)
        self._rate = RateLimiter(settings.requests_per_second)

    def admit(
        self, role: Role | None, headers: dict[bytes, bytes], address: tuple[str, int] | None
    ) -> str:
        """Who asks. Raises `Refusal`: 401 unknown, 403 not in that role, 429 too often."""
        client = address[0] if address else "?"
        if role is None:
            return client
        if self._tokens:
            client = self._known(role, headers.get(b"authorization", b"")).name
        if not self._rate.allows(client):
            raise Refusal(
                429, "too many requests", "This client has used up its requests per second.",
                headers={"Retry-After": "1"},
            )  # fmt: skip
        return client

    def _known(self, role: Role, authorization: bytes) -> Token:
        scheme, _, secret = authorization.partition(b" ")
        digest = sha256(secret.strip()).hexdigest()
        # All are compared, in constant time: how long it takes tells nothing of any of them.
        held = [token for token in self._tokens if hmac.compare_digest(token.digest, digest)]
        if scheme.lower() != b"bearer" or not held:
            raise Refusal(
                401, "token missing or wrong", "Send `Authorization: Bearer <token>`.",
                headers=TOKEN_WANTED,
            )  # fmt: skip
        for token in held:
            if token.role in (role, "admin"):
                return token
        raise Refusal(403, "not allowed", f"This token is not one for {role}.")


class RateLimiter:
    """A bucket of tokens for each client: `per_second` on average, twice that at once."""

    MOST = 10_000  # clients that are remembered

    def __init__(self, per_second: float) -> None:
        self._per_second, self._burst = per_second, 2 * per_second
        self._buckets: dict[str, tuple[float, float]] = {}

    def allows(self, client: str) -> bool:
        now = time.monotonic()
        left, at = self._buckets.get(client, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._per_second)
        if len(self._buckets) >= self.MOST and client not in self._buckets:
            self._buckets.clear()
        self._buckets[client] = (max(left - 1, 0.0) if left >= 1 else left, now)
        return left >= 1
