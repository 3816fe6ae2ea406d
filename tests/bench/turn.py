"""CPU and wall time of one turn of the loop (`mlops run`), next to v0.1, in turns.

Both run with the packages of this environment: the locks of the two differ only in comments. With
`--slice` the turn has the few days of the tests. A number is the count of rounds, by default one.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from measure import cpu_seconds, spread

from pipelines.training import lineage
from tests import slice_params
from tests.homes import v01
from tests.use_case import PARAMS_FILE

ROOT = Path(__file__).parents[2]
V01 = 'import sys; sys.argv = ["mlops", "run"]; from pipelines.cli import app; app()'
COMMANDS = {"v0.1": ["-c", V01], "now": ["-m", "pipelines.cli.main", "run"]}


def run_turn(tree: Path, command: list[str], *, small: bool) -> tuple[float, float]:
    """Run a turn of the code in `tree` in a new home; return its seconds of CPU and wall time.

    The CPU time is that of all processes of the turn, which have ended when it returns.
    """
    with tempfile.TemporaryDirectory(prefix="turn-") as home, socket.socket() as one:
        place = PARAMS_FILE.relative_to(ROOT) if tree == ROOT else v01.PARAMS
        params = Path(home) / place
        params.parent.mkdir(parents=True)
        shipped = (tree / place).read_text()
        params.write_text(yaml.safe_dump(slice_params.slice_params(shipped)) if small else shipped)
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        one.close()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS", "PREFECT"))}
        ours = {
            "PYTHONPATH": str(tree), "MLOPS_HOME": home, "MLOPS_PREFECT_PORT": str(port),
            "MLOPS_SERVICE_PORT": str(port + 1),
        }  # fmt: skip
        started = time.monotonic()
        cpu = cpu_seconds(
            lambda: subprocess.run(
                [sys.executable, *command], cwd=home, env=kept | ours, check=True,
                stdout=subprocess.DEVNULL,
            )
        )  # fmt: skip
        return cpu, time.monotonic() - started


def main() -> None:
    small = "--slice" in sys.argv
    rounds = int(next((each for each in sys.argv[1:] if each.isdigit()), "1"))
    with lineage.commit_files(v01.COMMIT) as old:
        trees = {"v0.1": old, "now": ROOT}
        spent = [
            {name: run_turn(tree, COMMANDS[name], small=small) for name, tree in trees.items()}
            for _ in range(rounds)
        ]
    print(f"\n## One turn{' of a slice' * small} of the loop (`tests/bench/turn.py`)\n")
    for number, kind in enumerate(("CPU", "wall")):
        before, after = (
            statistics.median(each[name][number] for each in spent) for name in COMMANDS
        )
        low, middle, high = spread([each["now"][number] / each["v0.1"][number] for each in spent])
        print(
            f"- {kind} time: {after:.0f} s, in v0.1 {before:.0f} s; {middle:.2f} of v0.1's "
            f"(min {low:.2f}, max {high:.2f}, {rounds} rounds)"
        )


if __name__ == "__main__":
    main()
