"""What is lost under load while models are swapped, the service is killed, or too many ask?

`make bench-load` writes the counts to docs/benchmarks/load.md. The clients are threads of this
process, so their latency is an upper bound of what the service took.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[3]))
from measure import machine

from tests.serving import scenarios
from tests.serving.load import Account, quantile

ROOT = Path(__file__).parents[3]
REQUESTS, SWAPS, KILLS = 100_000, 10, 5
CROWDS, SECONDS = (8, 64, 128, 256), 20


def table(found: Account) -> str:
    names = {
        "requests": "asked", "answered": "answered", "refused": "told to wait (429)",
        "failed": "answered with another error", "dropped": "without an answer",
        "mixed": "whose probability is not their version's",
        "missing": "answered and not in the log", "doubled": "twice in the log",
        "unasked": "in the log, but refused or never asked",
    }  # fmt: skip
    rows = [f"| {told} | {getattr(found, name):,} |" for name, told in names.items()]
    return "\n".join(["| requests | |", "|---|---|", *rows])


def swapped() -> str:
    with tempfile.TemporaryDirectory() as home, scenarios.serving(Path(home)) as service:
        found = scenarios.swaps(service, requests=REQUESTS, swaps=SWAPS, clients=8)
    counts = ", ".join(f"{version}: {n:,}" for version, n in found.by_version.items())
    return (
        f"## {SWAPS} swaps of the model under load\n\n{table(found)}\n\n"
        f"Answers by version: {counts}."
    )


def killed() -> str:
    with tempfile.TemporaryDirectory() as home, scenarios.serving(Path(home)) as service:
        found = scenarios.kills(service, kills=KILLS, between=5000, clients=8)
    return f"## {KILLS} times `kill -9` of the process that answers\n\n{table(found)}"


def crowded() -> str:
    lines = [
        f"## Too many at once\n\n{SECONDS} s each; 64 requests are taken at once, and a client "
        "that is told to wait asks again at once. The clients are threads of one\n"
        "Python process, so what they wait for is partly themselves: where nobody was told to "
        "wait, no more than 64 were under\nway at the service, and the latency is no measure of "
        "it.\n",
        "| clients | accepted per second | their p50 | their p99 | told to wait "
        "| other errors, or none | missing in the log |",
        "|---|---|---|---|---|---|---|",
    ]
    for clients in CROWDS:
        with tempfile.TemporaryDirectory() as home, scenarios.serving(Path(home)) as service:
            found, replies = scenarios.crowd(service, clients=clients, seconds=SECONDS)
        middle, high = quantile(replies, 0.5), quantile(replies, 0.99)
        lines.append(
            f"| {clients} | {found.answered / SECONDS:,.0f} | {middle:.0f} ms | {high:.0f} ms | "
            f"{found.refused:,} | {found.failed + found.dropped} | {found.missing} |"
        )
    return "\n".join(lines)


def main() -> None:
    told = [f"# The service under load\n\nWritten by `make bench-load`.\n\n{machine()}"]
    for part in (swapped, killed, crowded):
        told.append(part())
        print(told[-1], flush=True)
    (ROOT / "docs" / "benchmarks" / "load.md").write_text("\n\n".join(told) + "\n")


if __name__ == "__main__":
    main()
