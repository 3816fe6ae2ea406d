"""Compare the service's speed with its alternatives; `make bench-serving` writes the page.

The servers of a part run at once and take turns, so that other load on the machine affects all of
them. wrk (https://github.com/wg/wrk, `apt-get install wrk`) sends the same rows over real
connections. `make bench-serving PARTS="fronts v0.1"` measures some parts again, and replaces their
sections of the page.
"""

import argparse
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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[3]))
import psutil
from measure import machine
from prepare import HOME, ROOT, load_or_build, setup_home
from servers import Server, await_answer, fronts, previous, redis, running, servers, shortcuts

CONNECTIONS = (1, 8, 32)
# Lower values are enough for a trial run.
ROUNDS, SECONDS = (int(os.environ.get(f"BENCH_{name}", 3)) for name in ("ROUNDS", "SECONDS"))
PAGE = ROOT / "docs" / "benchmarks" / "serving.md"
HEAD = "# Speed of the service\n\nWritten by `make bench-serving`.\n"
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
Notes = dict[str, Any]


@dataclass(frozen=True)
class Measurement:
    per_second: float
    p50: float  # milliseconds, as p99
    p99: float
    cpu: float  # milliseconds of the server's processes per request
    failed: int


Results = dict[tuple[str, int], list[Measurement]]


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


def take_turns(compared: list[Server], connections: Iterable[int], rounds: int) -> Results:
    """Measure all servers in each round. Every second round takes them in the reverse order."""
    results: Results = defaultdict(list)
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(running(server)) for server in compared]
        for server, process in zip(compared, processes, strict=True):
            await_answer(server, process)
        turns = [(one, p, script(one)) for one, p in zip(compared, processes, strict=True)]
        for _ in range(rounds):
            for number in connections:
                for server, process, lua in turns:
                    one = measure(server, process, number, lua)
                    results[server.name, number].append(one)
                    print(server.name, number, one, file=sys.stderr, flush=True)
            turns.reverse()
    return results


def markdown(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def compare_alternatives(notes: Notes) -> str:
    """Return the tables. Ratios are within a round: the machine's speed varies between rounds."""
    with redis() as address:
        compared = servers(notes, address)
        results = take_turns(compared, CONNECTIONS, ROUNDS)
    [baseline] = [one.name for one in compared if one.name.startswith("mlflow")]
    head = [
        "server", "requests per second", "CPU per request", "p50", "p99",
        "throughput relative to MLflow's", "MLflow's p99 relative to it",
        "MLflow's CPU relative to it", "failed",
    ]  # fmt: skip

    def row(name: str, connections: int) -> list[str]:
        rounds = results[name, connections]
        pairs = list(zip(rounds, results[baseline, connections], strict=True))
        one = _median(rounds)
        return [
            name, f"{one.per_second:,.0f}", f"{one.cpu:.2f} ms", f"{one.p50:.2f} ms",
            f"{one.p99:.2f} ms",
            _ratio(ours.per_second / of.per_second for ours, of in pairs),
            _ratio(of.p99 / ours.p99 for ours, of in pairs),
            _ratio(of.cpu / ours.cpu for ours, of in pairs),
            str(sum(each.failed for each in rounds)),
        ]  # fmt: skip

    tables = [
        f"### {number} connection{'s' if number > 1 else ''}\n\n"
        + markdown(head, [row(server.name, number) for server in compared])
        for number in CONNECTIONS
    ]
    store = "Redis runs for this benchmark alone." if address else "There was no Redis."
    return f"{store}\n\n" + "\n\n".join(tables)


def compare_batch(notes: Notes) -> str:
    """Return the server's CPU time of a row alone and in a batch of 1,000, as a sentence."""
    import httpx

    server = next(one for one in servers(notes, None) if one.path == "/predict")
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


def compare_shortcuts(notes: Notes) -> str:
    whole, *variants = shortcuts(notes)
    results = take_turns([whole, *variants], [8], ROUNDS)
    full = _median(results[whole.name, 8])
    rows = [
        [name, f"{full.cpu:.2f} ms", f"{one.cpu:.2f} ms", f"{full.p99:.1f} ms", f"{one.p99:.1f} ms"]
        for name in (variant.name for variant in variants)
        for one in [_median(results[name, 8])]
    ]
    head = ["shortcut", "CPU per request with it", "without it", "p99 with it", "without it"]
    return "At 8 connections, with `/score`.\n\n" + markdown(head, rows)


def compare_fronts(notes: Notes) -> str:
    """Return the table of the fronts. Models, log, metrics and options are the same."""
    compared = fronts(notes)
    results = take_turns(compared, [8], ROUNDS)
    ours = results[compared[0].name, 8]
    rows = [
        [
            server.name, f"{_median(rounds).per_second:,.0f}", f"{_median(rounds).cpu:.2f} ms",
            _ratio(one.cpu / own.cpu for one, own in zip(rounds, ours, strict=True)),
            str(sum(each.failed for each in rounds)),
        ]
        for server in compared
        for rounds in [results[server.name, 8]]
    ]  # fmt: skip
    head = ["front", "requests per second", "CPU per request", "relative to ours", "failed"]
    return "At 8 connections, with `/score`.\n\n" + markdown(head, rows)


def compare_v01(notes: Notes) -> str:
    """Return the table of today's service beside v0.1's."""
    compared = previous(notes)
    rounds = 3 * ROUNDS
    results = take_turns(compared, CONNECTIONS, rounds)
    today, old = (server.name for server in compared)
    rows = []
    for number in CONNECTIONS:
        pairs = list(zip(results[today, number], results[old, number], strict=True))
        new_cpu, old_cpu = (_median(results[name, number]).cpu for name in (today, old))
        rows.append([
            str(number),
            _ratio(new.per_second / before.per_second for new, before in pairs),
            _ratio(new.cpu / before.cpu for new, before in pairs),
            f"{new_cpu:.2f} ms", f"{old_cpu:.2f} ms",
            str(sum(new.failed + before.failed for new, before in pairs)),
        ])  # fmt: skip
    head = [
        "connections", "requests per second of one worker, relative to v0.1",
        "CPU per request, relative to v0.1", "CPU today", "CPU of v0.1", "failed",
    ]  # fmt: skip
    return f"`/score`, in {rounds} rounds.\n\n" + markdown(head, rows)


def _ratio(of_rounds: Iterable[float]) -> str:
    ratios = sorted(of_rounds)
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def _median(rounds: list[Measurement]) -> Measurement:
    def median(field: str) -> float:
        return statistics.median(getattr(one, field) for one in rounds)

    return Measurement(median("per_second"), median("p50"), median("p99"), median("cpu"), 0)


PARTS: dict[str, tuple[str, Callable[[Notes], str]]] = {
    "alternatives": ("Beside its alternatives", compare_alternatives),
    "batch": ("In bulk", compare_batch),
    "shortcuts": ("What each shortcut saves", compare_shortcuts),
    "fronts": ("Behind other fronts", compare_fronts),
    "v0.1": ("Beside v0.1", compare_v01),
}


def sections() -> Iterator[tuple[str, str]]:
    """Yield title and text of each section of the page."""
    for part in PAGE.read_text().split("\n## ")[1:] if PAGE.exists() else []:
        title, _, text = part.partition("\n\n")
        yield title, text.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(PARTS)}; all by default")
    wanted = parser.parse_args().parts or list(PARTS)
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}")
    if shutil.which("wrk") is None:
        sys.exit("make bench-serving needs wrk: apt-get install wrk")
    setup_home()
    notes, page = load_or_build(), dict(sections())
    for name in wanted:
        title, compare = PARTS[name]
        began = time.monotonic()
        text = compare(notes)
        took = f"It took {time.monotonic() - began:.0f} s."
        page[title] = f"{text}\n\nRounds of {SECONDS} s. {took} {machine()}"
        print(f"## {title}\n\n{page[title]}\n", flush=True)
        kept = [(title, page[title]) for title, _ in PARTS.values() if title in page]
        PAGE.write_text("\n".join([HEAD, *(f"## {title}\n\n{text}\n" for title, text in kept)]))


if __name__ == "__main__":
    main()
