"""Access control: tokens by role, rate limits, and no start beyond the loopback without tokens."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from serving.http.access import RateLimiter, parse_tokens, require_tokens
from settings import Settings, UserError
from tests.serving.in_process import (
    LocalService,
    example_request,
    post_json,
    send_request,
    service_parts,
)

TOKENS = "predict:{p}:shop,feedback {f} desk, admin {a} ops"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    digests = {name: sha256(name.encode()).hexdigest() for name in "pfa"}
    settings = Settings(
        home=tmp_path_factory.mktemp("guarded"), service_host="0.0.0.0",  # noqa: S104
        tokens=TOKENS.format(**digests), requests_per_second=2,
    )  # fmt: skip
    parts = service_parts(settings)
    yield parts
    parts.close()


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401), ("", 401), ("Bearer", 401), ("Bearer x", 401), ("Basic p", 401),
        ("Bearer ü", 401), ("Bearer f", 403), ("Bearer p", 200), ("bearer a", 200),
    ],
)  # fmt: skip
def test_a_token_has_to_be_known_and_have_the_role(
    authorization: str | None, status: int, guarded: LocalService
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode()}
    answer = post_json(guarded, "/predict", example_request(), **headers)  # type: ignore[arg-type]
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert send_request(guarded, "GET", "/livez").status_code == 200


def test_the_token_decides_whatever_the_host_is(guarded: LocalService) -> None:
    answer = send_request(guarded, "GET", "/livez", headers={"Host": "predict.example.com"})
    assert answer.status_code == 200


def test_a_client_above_its_rate_gets_429_with_retry_after(guarded: LocalService) -> None:
    answers = [
        post_json(guarded, "/predict", example_request(), Authorization="Bearer p")
        for _ in range(6)
    ]
    assert answers[-1].status_code == 429
    assert answers[-1].headers["retry-after"] == "1"
    assert (
        post_json(guarded, "/predict", example_request(), Authorization="Bearer a").status_code
        == 200
    )


def test_a_rate_limit_recovers_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    rate = RateLimiter(1)
    assert [rate.allows("a") for _ in range(4)] == [True, True, False, False]
    assert rate.allows("b")
    now = 1.0
    assert [rate.allows("a") for _ in range(2)] == [True, False]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "a-host"])  # noqa: S104
def test_it_does_not_start_beyond_the_loopback_without_tokens(host: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="without a token"):
        require_tokens(Settings(home=tmp_path, service_host=host))
    for own in ("127.0.0.1", "::1", "localhost"):
        require_tokens(Settings(home=tmp_path, service_host=own))


@pytest.mark.parametrize("line", ["predict secret", "root " + "0" * 64, "predict " + "0" * 63])
def test_a_malformed_token_line_is_refused(line: str) -> None:
    with pytest.raises(UserError, match="Line 2 of the tokens"):
        parse_tokens(f"# ours\n{line}\n")


def test_an_image_of_bentoml_needs_tokens_as_it_listens_on_every_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_CONTAINERIZED", "true")
    with pytest.raises(UserError, match="every address of its container without a token"):
        require_tokens(Settings(home=tmp_path))
    line = f"predict:{'0' * 64}:shop"
    assert [token.name for token in require_tokens(Settings(home=tmp_path, tokens=line))] == [
        "shop"
    ]
