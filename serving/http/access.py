"""Access control: bearer tokens by role, kept as hashes, and a rate limit for each client.

A token file has one token a line: `<role> <sha256 of the token> <name>`. Without tokens the service
starts on the loopback address only.
"""

import hmac
import ipaddress
import os
import re
import time
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from typing import Literal, NamedTuple, get_args

from serving.errors import Refusal, too_many
from settings import Settings, UserError

Role = Literal["predict", "feedback", "admin"]
ROLES = ", ".join(get_args(Role))
TOKEN_LINE = re.compile(r"(\w+)[\s:]+([0-9a-f]{64})(?:[\s:]+([\w.-]+))?")


class Token(NamedTuple):
    """An access token: its role, its sha256 in hexadecimal, and its client for logs and limits."""

    role: str
    digest: str
    name: str


def parse_tokens(text: str) -> tuple[Token, ...]:
    """Return the tokens in `text`. Raises `UserError` with the number of a malformed line."""
    tokens = []
    for number, line in enumerate(text.splitlines(), 1):
        if not (line := line.split("#")[0].strip()):
            continue
        match = TOKEN_LINE.fullmatch(line)
        if match is None or match[1] not in get_args(Role):
            raise UserError(
                f"Line {number} of the tokens is malformed. It must be `role sha256 name`, with a "
                f"role of {ROLES}. `mlops token ROLE NAME` prints a line."
            )
        tokens.append(Token(match[1], match[2], match[3] or f"token-{number}"))
    return tuple(tokens)


def configured_tokens(settings: Settings) -> tuple[Token, ...]:
    """Return the tokens of the settings: the text (commas separate its lines) and the file."""
    text = settings.tokens.get_secret_value() if settings.tokens else ""
    tokens = parse_tokens(text.replace(",", "\n"))
    if settings.tokens_file is None:
        return tokens
    try:
        return tokens + parse_tokens(settings.tokens_file.read_text())
    except OSError as error:
        raise UserError(
            f"The token file can't be read: {error}. Check MLOPS_TOKENS_FILE."
        ) from error


def bearer_header(settings: Settings) -> dict[str, str]:
    """Return the `Authorization` header for our own clients; empty if no token is set."""
    if settings.token is None:
        return {}
    return {"Authorization": f"Bearer {settings.token.get_secret_value()}"}


def require_tokens(settings: Settings) -> tuple[Token, ...]:
    """Return the tokens. Raises `UserError` if it would listen beyond the loopback without any."""
    host = settings.service_host
    if "BENTOML_CONTAINERIZED" in os.environ:  # an image of `bentoml containerize`
        host = "every address of its container"
    loopback = host == "localhost"
    with suppress(ValueError):  # the name of a host
        loopback = ipaddress.ip_address(host).is_loopback
    tokens = configured_tokens(settings)
    if tokens or loopback:
        return tokens
    raise UserError(
        f"The service would listen on {host} without a token. Set MLOPS_TOKENS_FILE or "
        "MLOPS_TOKENS (`mlops token predict NAME` prints a line), or listen on 127.0.0.1."
    )


class AccessControl:
    """Authenticates and limits each client. Without tokens, anyone may do anything."""

    def __init__(self, settings: Settings) -> None:
        self._tokens = require_tokens(settings)
        self._is_own_host = lru_cache(64)(settings.is_own_host)
        per_second = settings.requests_per_second  # 0: no limit
        self._rate = RateLimiter(per_second) if per_second else None

    def admit(
        self, role: Role | None, headers: dict[bytes, bytes], address: tuple[str, int] | None
    ) -> str:
        """Return the client's name.

        Raises `Refusal`: 401 for an unknown token, 403 for another role or, if no token is needed,
        a foreign host, 429 above the rate.
        """
        client = address[0] if address else "?"
        host = headers.get(b"host", b"localhost").decode("latin-1")
        # A web page elsewhere reaches the loopback under a name that its owner lets point to it.
        if not self._tokens and not self._is_own_host(host):
            detail = "The header Host names another machine. See MLOPS_ALLOWED_HOSTS."
            raise Refusal(403, "foreign host", detail)
        if role is None:
            return client
        if self._tokens:
            client = self._authenticate(role, headers.get(b"authorization", b""))
        if self._rate is not None and not self._rate.allows(client):
            raise too_many("too many requests")
        return client

    def _authenticate(self, role: Role, authorization: bytes) -> str:
        scheme, _, secret = authorization.partition(b" ")
        digest = sha256(secret.strip()).hexdigest()
        # Compares all of them, in constant time: the time taken reveals nothing about a token.
        matches = [token for token in self._tokens if hmac.compare_digest(token.digest, digest)]
        if scheme.lower() != b"bearer" or not matches:
            raise Refusal(
                401, "token missing or wrong", "Send `Authorization: Bearer <token>`.",
                headers={"www-authenticate": 'Bearer realm="mlops"'},
            )  # fmt: skip
        for token in matches:
            if token.role in (role, "admin"):
                return token.name
        raise Refusal(
            403, "not allowed", f"This token lacks the role {role}. Send one that has it."
        )


class RateLimiter:
    """A token bucket for each client: `per_second` on average, twice that in a burst."""

    MAX_CLIENTS = 10_000  # remembered; beyond that, all buckets start anew

    def __init__(self, per_second: float) -> None:
        self._per_second, self._burst = per_second, 2 * per_second
        self._buckets: dict[str, tuple[float, float]] = {}

    def allows(self, client: str) -> bool:
        """Take one request from the client's bucket; False if it is empty."""
        now = time.monotonic()
        left, at = self._buckets.get(client, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._per_second)
        if len(self._buckets) >= self.MAX_CLIENTS and client not in self._buckets:
            self._buckets.clear()
        self._buckets[client] = (left - 1 if left >= 1 else left, now)
        return left >= 1
