"""Compare the service's speed with its alternatives; `make bench-serving` writes the page.

All servers run at once and take turns, so that other load on the machine affects all of them. wrk
(https://github.com/wg/wrk, `apt-get install wrk`) sends the same rows over real connections.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[3]))
import psutil
from measure import machine
from prepare import HOME, ROOT, load_or_build, setup_home
from servers import SHORTCUTS, Server, await_answer, redis, running, servers, shortcuts

CONNECTIONS = (1, 8, 32)
# Lower values are enough for a trial run.
ROUNDS, SECONDS = (int(os.environ.get(f"BENCH_{name}", 3)) for name in ("ROUNDS", "SECONDS"))
BASELINE = "mlflow models serve"
LUA = """
local bodies = {{ {bodies} }}
local number = 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
function request()
  number = number % #bodies + 1
  return wrk.format(nil, "{path}", nil, bodies[number])
end
"""


@dataclass(frozen=True)
class Measurement:
    per_second: float
    p50: float  # milliseconds, as p99
    p99: float
    cpu: float  # milliseconds of the server's processes per request
    failed: int


def cpu_seconds(process: psutil.Process) -> float:
    seconds = 0.0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            seconds += sum(one.cpu_times()[:2])
    return seconds


def measure(server: Server, process: psutil.Process, connections: int, script: Path) -> Measurement:
    before = cpu_seconds(process)
    output = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}", "--latency", "-s", str(script),
         f"http://127.0.0.1:{server.port}"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    cpu = cpu_seconds(process) - before
    [total] = re.findall(r"(\d+) requests in", output)
    failed = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", output)))
    return Measurement(
        float(re.findall(r"Requests/sec:\s+([\d.]+)", output)[0]),
        _milliseconds(re.findall(r"\n +50% +(\S+)", output)[0]),
        _milliseconds(re.findall(r"\n +99% +(\S+)", output)[0]),
        1000 * cpu / max(int(total), 1), failed,
    )  # fmt: skip


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}[unit]


def script(server: Server) -> Path:
    bodies = ",\n".join(json.dumps(body) for body in server.bodies)
    path = HOME / "var" / f"bench-{server.port}.lua"
    path.write_text(LUA.format(bodies=bodies, path=server.path))
    return path


def batch(server: Server) -> str:
    """Return the server's CPU time of a row alone and in a batch of 1,000, as a sentence."""
    import httpx

    rows = [json.loads(server.bodies[n % len(server.bodies)]) for n in range(1000)]
    with running(server) as process, httpx.Client(
        base_url=f"http://127.0.0.1:{server.port}", timeout=60, trust_env=False
    ) as client:  # fmt: skip
        await_answer(server, process)
        costs = [(_cost(process, client, "/predict", rows, 1),
                  _cost(process, client, "/predict_batch", [{"requests": rows}] * 20, 1000))
                 for _ in range(ROUNDS)]  # fmt: skip
    alone, together = (statistics.median(each) for each in zip(*costs, strict=True))
    times = _ratio(one / other for one, other in costs)
    return (
        f"With `/predict`, a row costs {alone:.2f} ms of CPU. With `/predict_batch` and 1,000 "
        f"rows, it costs {together:.3f} ms: {times} times less."
    )


def _cost(process: psutil.Process, client: Any, path: str, bodies: list[Any], rows: int) -> float:
    """Return milliseconds of the server's CPU for each of the `rows` in each body."""
    before = cpu_seconds(process)
    for body in bodies:
        client.post(path, json=body).raise_for_status()
    return 1000 * (cpu_seconds(process) - before) / (len(bodies) * rows)


def compare_shortcuts(notes: dict[str, Any]) -> str:
    """Return the table of what each shortcut saves. All variants run at once and take turns."""
    variants = shortcuts(notes)
    results: dict[str, list[Measurement]] = defaultdict(list)
    with contextlib.ExitStack() as stack:
        processes = {n: stack.enter_context(running(one)) for n, one in variants.items()}
        for name, one in variants.items():
            await_answer(one, processes[name])
        scripts = {name: script(one) for name, one in variants.items()}
        for _ in range(ROUNDS):
            for name, one in variants.items():
                results[name].append(measure(one, processes[name], 8, scripts[name]))
                print(
                    f"without {name or 'nothing'}", results[name][-1], file=sys.stderr, flush=True
                )
    whole = _median(results[""])
    lines = [
        "| shortcut | CPU per request with it | without it | p99 with it | without it |",
        "|---|---|---|---|---|",
    ]
    for name, label in SHORTCUTS.items():
        one = _median(results[name])
        lines.append(
            f"| {label} | {whole.cpu:.2f} ms | {one.cpu:.2f} ms | {whole.p99:.1f} ms | "
            f"{one.p99:.1f} ms |"
        )
    return "\n".join(lines)


def table(results: dict[tuple[str, int], list[Measurement]], names: list[str]) -> str:
    """Return the tables. Ratios are within a round: the machine's speed varies between rounds."""
    lines = []
    for connections in CONNECTIONS:
        baseline = results[BASELINE, connections]
        lines += [
            f"\n## {connections} connection{'s' if connections > 1 else ''}\n",
            "| server | requests per second | CPU per request | p50 | p99 | throughput "
            "relative to MLflow's | MLflow's p99 relative to it | MLflow's CPU relative to it "
            "| failed |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for name in names:
            rounds = results[name, connections]
            pairs = list(zip(rounds, baseline, strict=True))
            one = _median(rounds)
            lines.append(
                f"| {name} | {one.per_second:,.0f} | {one.cpu:.2f} ms | {one.p50:.2f} ms | "
                f"{one.p99:.2f} ms "
                f"| {_ratio(ours.per_second / of.per_second for ours, of in pairs)} "
                f"| {_ratio(of.p99 / ours.p99 for ours, of in pairs)} "
                f"| {_ratio(of.cpu / ours.cpu for ours, of in pairs)} "
                f"| {sum(each.failed for each in rounds)} |"
            )
    return "\n".join(lines)


def _ratio(of_rounds: Iterable[float]) -> str:
    ratios = sorted(of_rounds)
    return f"{statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})"


def _median(rounds: list[Measurement]) -> Measurement:
    def median(field: str) -> float:
        return statistics.median(getattr(one, field) for one in rounds)

    return Measurement(median("per_second"), median("p50"), median("p99"), median("cpu"), 0)


def main() -> None:
    if shutil.which("wrk") is None:
        sys.exit("make bench-serving needs wrk: apt-get install wrk")
    setup_home()
    notes = load_or_build()
    results: dict[tuple[str, int], list[Measurement]] = defaultdict(list)
    began = time.monotonic()
    with redis() as address, contextlib.ExitStack() as stack:
        every = servers(notes, address)
        processes = [stack.enter_context(running(server)) for server in every]
        for server, process in zip(every, processes, strict=True):
            await_answer(server, process)
        print(f"{time.monotonic() - began:.0f} s: all answer", file=sys.stderr, flush=True)
        scripts = [script(server) for server in every]
        for _ in range(ROUNDS):
            for connections in CONNECTIONS:
                for server, process, lua in zip(every, processes, scripts, strict=True):
                    one = measure(server, process, connections, lua)
                    results[server.name, connections].append(one)
                    print(server.name, connections, one, file=sys.stderr, flush=True)
    lookup = next(server for server in servers(notes, None) if server.path == "/predict")
    page = [
        "# Speed of the service\n\nWritten by `make bench-serving`.\n", machine(),
        f"\nEach server has one worker. wrk sends {notes['rows']} real rows in turn, with one "
        f"thread, in {ROUNDS} interleaved rounds of {SECONDS} s. The tables show medians. "
        f"Ratios are taken within a round and shown with their range. "
        f"{'Redis runs for this benchmark alone' if address else 'There was no Redis'}. "
        f"The benchmark took {time.monotonic() - began:.0f} s.",
        table(results, [server.name for server in every]),
        f"\n## In bulk\n\n{batch(lookup)}",
        "\n## What each shortcut saves\n\nAt 8 connections, with `/score`, in interleaved "
        f"rounds.\n\n{compare_shortcuts(notes)}\n",
    ]  # fmt: skip
    target = ROOT / "docs" / "benchmarks" / "serving.md"
    target.write_text("\n".join(page))
    print(target.read_text())


if __name__ == "__main__":
    main()
