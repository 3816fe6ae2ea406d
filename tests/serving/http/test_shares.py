"""A client that comes later finds its share free, whatever another one has taken."""

import pytest

from serving.http.shares import Shares


def takes(shares: Shares, client: str, units: int = 1) -> bool:
    """Take units for a request; give them back and return False if it is refused."""
    shares.take(client, units)
    if refused := shares.exceeded(client, units):
        shares.give_back(client, units)
    return not refused


def test_a_client_alone_may_use_all_of_the_limit_and_no_more() -> None:
    shares = Shares(8)
    assert [takes(shares, "greedy") for _ in range(10)] == [True] * 8 + [False] * 2
    assert shares.in_use == 8


def test_the_others_get_their_share_at_once_and_the_greedy_one_falls_to_its_own() -> None:
    shares = Shares(8)
    for _ in range(8):
        takes(shares, "greedy")
    assert [takes(shares, "other") for _ in range(5)] == [True] * 4 + [False]
    assert not takes(shares, "greedy")
    for _ in range(5):
        shares.give_back("greedy", 1)
    assert [takes(shares, "greedy") for _ in range(3)] == [True, False, False]
    assert shares.in_use == 8
    shares.give_back("other", 1)
    assert takes(shares, "greedy")  # the other one leaves it unused


@pytest.mark.parametrize("n_clients", [3, 20])
def test_every_client_may_have_one_request_however_many_rows_it_has(n_clients: int) -> None:
    shares = Shares(1000)
    assert all(takes(shares, f"client {n}", 700) for n in range(n_clients))
    assert not takes(shares, "client 0", 700)


def test_without_a_limit_nothing_is_refused() -> None:
    shares = Shares(0)
    assert all(takes(shares, "one", 10**6) for _ in range(100))
