"""CPU time of the tools' imports, and of Feast's without its checks of every call."""

import statistics
import subprocess
import sys

from measure import compare, cpu_seconds, format_duration

MODULES = (
    "feast", "great_expectations", "evidently", "mlflow", "prefect", "bentoml", "sklearn.ensemble",
    "matplotlib.figure",
)  # fmt: skip


def python(code: str) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True)


def main() -> None:
    print("\n## Imports, each in a new process (`tests/bench/imports.py`)\n")
    for module in MODULES:
        spent = [cpu_seconds(lambda name=module: python(f"import {name}")) for _ in range(3)]
        print(f"- `{module}`: {format_duration(statistics.median(spent))} of CPU time")
    compare(
        "Feast with its checks of every call, relative to Feast without them",
        lambda: python("import feast"), lambda: python("import features, feast"), clock=cpu_seconds,
    )  # fmt: skip


if __name__ == "__main__":
    main()
