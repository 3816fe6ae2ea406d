"""The stack's limits as nginx reads them, from the variables of docker-compose.yml."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "serving" / "stack" / "limits.sh"


def limits(per_second: str, at_once: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(SCRIPT)], capture_output=True, text=True, check=False,
        env={"MLOPS_REQUESTS_PER_SECOND": per_second, "MLOPS_REQUESTS_AT_ONCE": at_once,
             "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("per_second", "rate", "burst"),
    [("1000", "60000r/m", 1999), ("1", "60r/m", 1), ("0.5", "30r/m", 1), ("2.5", "150r/m", 4)],
)
def test_a_client_may_send_twice_its_rate_at_once(per_second: str, rate: str, burst: int) -> None:
    lines = limits(per_second, "64").stdout.splitlines()
    assert lines[0].endswith(f" rate={rate};")
    assert lines[1] == f"limit_req zone=per_second burst={burst} nodelay;"
    assert [line for line in lines if line.startswith("limit_conn ")] == [
        "limit_conn running 64;", "limit_conn running_client 48;",
        "limit_conn receiving 256;", "limit_conn receiving_client 192;",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("per_second", "at_once"), [("0", "64"), ("-1", "64"), ("many", "64"), ("1000", "0"), ("", "")]
)
def test_a_limit_that_nginx_cannot_hold_stops_the_start(per_second: str, at_once: str) -> None:
    done = limits(per_second, at_once)
    assert (done.returncode, done.stdout) == (1, "")
    assert "must be positive numbers" in done.stderr


def test_nginx_reads_the_limits_and_no_replica_has_any():
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    [written] = re.findall(r"sh /limits.sh > (\S+) ", services["proxy"]["command"][-1])
    directives = (ROOT / "serving" / "stack" / "nginx.conf").read_text().splitlines()
    assert f"include {written};" in map(str.strip, directives)
    given = services["api"]["environment"]
    assert (given["MLOPS_REQUESTS_PER_SECOND"], given["MLOPS_REQUESTS_AT_ONCE"]) == ("0", "0")
