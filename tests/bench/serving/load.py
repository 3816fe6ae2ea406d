"""Count lost requests while models are swapped, the service is killed, or it is overloaded.

`make bench-load` writes the counts to docs/benchmarks/load.md. hey, in a process of its own,
measures latency (https://github.com/rakyll/hey, `apt-get install hey`).
"""

import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[3]))
from measure import machine

from serving.prediction_log.reader import read_predictions
from tests.serving import scenarios
from tests.serving.load import LoadReport, random_rows
from tests.serving.service_process import Service
from tests.use_case import USE_CASE

ROOT = Path(__file__).parents[3]
REQUESTS, SWAPS, KILLS = 100_000, 10, 5
CROWDS, SECONDS = (8, 64, 128, 256), 10


def table(report: LoadReport) -> str:
    names = {
        "requests": "sent", "answered": "answered", "refused": "rejected (429)",
        "failed": "failed with another error", "dropped": "without a response",
        "mixed": "answered with the probability of another version",
        "missing": "answered but missing in the log", "doubled": "twice in the log",
        "unasked": "in the log, but rejected or never sent",
    }  # fmt: skip
    rows = [f"| {label} | {getattr(report, name):,} |" for name, label in names.items()]
    return "\n".join(["| requests | |", "|---|---|", *rows])


def measure_swaps() -> str:
    with tempfile.TemporaryDirectory() as home, scenarios.running_service(Path(home)) as service:
        report = scenarios.run_swaps(service, requests=REQUESTS, swaps=SWAPS, clients=8)
    counts = ", ".join(f"{version}: {n:,}" for version, n in report.by_version.items())
    return (
        f"## {SWAPS} swaps of the model under load\n\n{table(report)}\n\n"
        f"Answers by version: {counts}."
    )


def measure_kills() -> str:
    with tempfile.TemporaryDirectory() as home, scenarios.running_service(Path(home)) as service:
        report = scenarios.run_kills(service, kills=KILLS, between=5000, clients=8)
    return f"## {KILLS} times `kill -9` of the serving process\n\n{table(report)}"


def measure_crowds() -> str:
    lines = [
        f"## More requests than the limit\n\nhey sends requests for {SECONDS} s. The service "
        "accepts 64 requests at once. A rejected client tries again at once.\n",
        "| clients | accepted per second | their p50 | their p99 | rejected (429) | other errors "
        "| missing in the log |",
        "|---|---|---|---|---|---|---|",
    ]
    for clients in CROWDS:
        with (
            tempfile.TemporaryDirectory() as home,
            scenarios.running_service(Path(home)) as service,
        ):
            scenarios.release_version(service, 1)
            lines.append(_measure_crowd(service, clients, Path(home)))
    return "\n".join(lines)


def _measure_crowd(service: Service, clients: int, folder: Path) -> str:
    body = folder / "body.json"
    [features] = random_rows(1)
    at = datetime(2013, 4, 1, tzinfo=UTC).isoformat()
    body.write_text(json.dumps({"key": "row", "decision_time": at, "features": features}))
    output = subprocess.run(
        ["hey", "-z", f"{SECONDS}s", "-c", str(clients), "-m", "POST", "-T", "application/json",
         "-D", str(body), "-o", "csv", f"{service.settings.service_url}/score"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    # hey writes a row for each response; a request without a response has no row.
    replies = pd.read_csv(StringIO(output))
    status, seconds = replies["status-code"], replies["response-time"]
    answered = seconds[status == 200]
    logged = len(read_predictions(USE_CASE, service.log))
    middle, high = 1000 * answered.quantile([0.5, 0.99])
    return (
        f"| {clients} | {len(answered) / SECONDS:,.0f} | {middle:.0f} ms | {high:.0f} ms "
        f"| {int((status == 429).sum()):,} | {int((~status.isin([200, 429])).sum())} "
        f"| {max(len(answered) - logged, 0)} |"
    )


def main() -> None:
    page = [f"# The service under load\n\nWritten by `make bench-load`.\n\n{machine()}"]
    for part in (measure_swaps, measure_kills, measure_crowds):
        page.append(part())
        print(page[-1], flush=True)
    (ROOT / "docs" / "benchmarks" / "load.md").write_text("\n\n".join(page) + "\n")


if __name__ == "__main__":
    main()
