"""Faults on the running stack under load (`make chaos`).

Each fault stops, pauses, cuts off or fills a part. Afterwards users must be served again and
nothing may be lost: each acknowledged prediction is in the log once, there is one champion, no
version is half registered, and the release record is whole. At the end a training must succeed.
Only containers of the one Compose project are touched. Exits with 1 if a fault was not survived.
"""

import argparse
import sys
import time
from datetime import date
from typing import Any

from tests.stack.faults import FAULTS, train_to_completion
from tests.stack.load import Load, cases
from tests.stack.project import WITHIN, Stack


def find_losses(state: dict[str, Any], acknowledged: list[str]) -> str:
    """Return the losses after a fault as text; "nothing" if there are none."""
    logged = state["logged"]
    missing = len(set(acknowledged) - set(logged))
    problems = [f"{missing} acknowledged predictions are not in the log"] if missing else []
    if len(logged) != len(set(logged)):
        problems.append("predictions are logged twice")
    if state["champion"] is None or state["champion"] != state["served"]:
        problems.append(f"champion {state['champion']}, served {state['served']}")
    problems += [
        f"version {v} is half registered" for v, whole in state["whole"].items() if not whole
    ]
    problems += state["record"]
    return "; ".join(problems) or "nothing"


def run_faults(stack: Stack, names: list[str], first: date) -> bool:
    """Run each fault and print its row of the table; return whether all were survived."""
    print("| fault | what users saw | what recovered, how fast | served again after | lost |")
    print("|---|---|---|---|---|", flush=True)
    survived = True
    for name in names:
        with Load(stack.address("proxy", 8080), cases(first), stack.token()) as load:
            load.wait_until_served(time.monotonic(), WITHIN)
            since = time.monotonic()
            try:
                recovered = FAULTS[name](stack)
                took = f"{load.wait_until_served(since, WITHIN):.1f} s"
                losses = ""
            except AssertionError as error:
                recovered, took, losses = f"NOT SURVIVED: {error}", "", "see left"
        losses = losses or find_losses(stack.state(), load.acknowledged)
        survived &= losses == "nothing"
        saw = (
            f"{load.failures_since(since)} failed of {len(load.acknowledged) + len(load.failures)}"
        )
        print(f"| {name} | {saw} | {recovered} | {took} | {losses} |", flush=True)
    return survived


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(FAULTS), help="only these faults")
    parser.add_argument(
        "--from", dest="first", default="2013-04-01", help="day of the cases that are sent"
    )
    arguments = parser.parse_args()
    stack = Stack()
    survived = run_faults(
        stack, arguments.only or list(FAULTS), date.fromisoformat(arguments.first)
    )
    print("\nAfter all faults: " + train_to_completion(stack))
    return 0 if survived else 1


if __name__ == "__main__":
    sys.exit(main())
