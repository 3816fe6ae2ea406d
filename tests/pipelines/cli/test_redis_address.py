"""A Redis address that Feast's format can't hold is refused, and its password is not printed."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from features.publication_record import redis_client
from pipelines.cli.main import app
from settings import Settings, UserError

WRONG = [
    "redis://:hidden@localhost:6379/0", "localhost", "localhost:6379,password=hidden,1",
    "localhost:6379;password=hidden", "password=hidden,localhost:6379",
]  # fmt: skip


@pytest.mark.parametrize("address", WRONG)
def test_another_form_is_a_mistake_of_the_user(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    monkeypatch.setenv("MLOPS_REDIS", address)
    result = CliRunner().invoke(app, ["features"])
    assert result.exit_code == 2
    assert "MLOPS_REDIS: Value error, must be host:port,name=value" in result.output
    with pytest.raises(ValidationError) as refused:
        Settings(home=tmp_path)
    assert "hidden" not in result.output + str(refused.value)


def test_passwords_of_managed_servers_are_accepted(tmp_path: Path) -> None:
    address = "cache.example.com:6380,password=aB+/:@#c=,ssl=true,socket_timeout=1"
    client = redis_client(str(Settings(home=tmp_path, redis=address).redis), 1.0)
    assert client.get_connection_kwargs()["password"] == "aB+/:@#c="  # noqa: S105
    with pytest.raises(UserError, match="pasword"):
        redis_client("localhost:6379,pasword=a", 1.0)
