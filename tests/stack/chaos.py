"""Does the stack come through when its parts are killed, paused, cut off or full? `make chaos`.

A list of faults and a loop: each is done to the running stack under load; then users must be
served again, and nothing may be lost: every acknowledged prediction is in the log once, there is
one champion, no half-registered version, and the record of releases is whole. At the end a training
runs through. Only containers of the one Compose project are touched. Exit code 1 if a fault was not
survived.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import date
from typing import Any

from tests.stack.faults import FAULTS, retrained
from tests.stack.load import Load, cases
from tests.stack.project import WITHIN, Stack


def lost(state: dict[str, Any], acknowledged: list[str]) -> str:
    """What is not as it must be after a fault; "nothing" if all is."""
    logged = state["logged"]
    missing = len(set(acknowledged) - set(logged))
    problems = [f"{missing} acknowledged predictions are not in the log"] if missing else []
    if len(logged) != len(set(logged)):
        problems.append("predictions counted twice")
    if state["champion"] is None or state["champion"] != state["served"]:
        problems.append(f"champion {state['champion']}, served {state['served']}")
    problems += [f"version {v} is half made" for v, whole in state["whole"].items() if not whole]
    problems += state["record"]
    return "; ".join(problems) or "nothing"


def run(stack: Stack, names: list[str], first: date) -> bool:
    """Does each fault in turn and prints the table's row; whether all were survived."""
    print("| fault | what users saw | what recovered, how fast | served again after | lost |")
    print("|---|---|---|---|---|", flush=True)
    survived = True
    for name in names:
        with Load(stack.address("proxy", 8080), cases(first), stack.token()) as load:
            load.await_good(time.monotonic(), WITHIN)
            since = time.monotonic()
            try:
                recovered = FAULTS[name](stack)
                took = f"{load.await_good(since, WITHIN):.1f} s"
                found = ""
            except AssertionError as error:
                recovered, took, found = f"NOT SURVIVED: {error}", "", "see left"
        found = found or lost(stack.state(), load.acknowledged)
        survived &= found == "nothing"
        saw = f"{load.told(since)} failed of {len(load.acknowledged) + len(load.failures)}"
        print(f"| {name} | {saw} | {recovered} | {took} | {found} |", flush=True)
    return survived


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(FAULTS), help="these faults, not all")
    parser.add_argument("--from", dest="first", default="2013-04-01", help="day of the cases asked")
    given = parser.parse_args()
    stack = Stack()
    survived = run(stack, given.only or list(FAULTS), date.fromisoformat(given.first))
    print("\nAfter all of it: " + retrained(stack))
    return 0 if survived else 1


if __name__ == "__main__":
    sys.exit(main())
