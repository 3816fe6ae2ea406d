"""Release commands that are killed at each step of their writes; the next command completes them.

Also runs inside the stack, which has no tests: `python - < tests/killed.py`. There it moves
versions through shadow and canary to champion and back. Its last line of output is the result.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any

import mlflow

from pipelines.release import promotion
from pipelines.release.audit import recorder
from pipelines.release.audit.verification import verify_release
from pipelines.training import mlflow_tracking
from serving.release import document as served
from settings import Settings, load_settings

# A forked child has the imports of this process and opens its own database connection.
FORK = multiprocessing.get_context("fork")
CLIENT = mlflow.MlflowClient
STEPS: dict[
    str, tuple[Any, str, bool, bool]
] = {  # owner, call, kill after it?, is the change made?
    "before the entry": (CLIENT, "create_run", False, False),
    "after the entry": (CLIENT, "create_run", True, False),
    "after its evidence": (CLIENT, "log_text", True, False),
    "after the document": (CLIENT, "set_registered_model_tag", True, True),
    "after the file": (served, "write_release", True, True),
    "after the alias": (CLIENT, "set_registered_model_alias", True, True),
    "before it is concluded": (CLIENT, "set_terminated", False, True),
}
Move = Callable[[], object]


def run_in_child(work: Move) -> int:
    """Run `work` in a child process; return its exit code, minus the signal's number for a kill."""
    child = FORK.Process(target=work)
    child.start()
    child.join(120)
    assert child.exitcode is not None
    return child.exitcode


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_in_call(owner: Any, name: str, *, after: bool) -> None:
    """Make this process kill itself in the call of `name`, before or after its work."""
    real = getattr(owner, name)

    def killed(*given: Any, **named: Any) -> None:
        if after:
            real(*given, **named)
        die()

    setattr(owner, name, killed)


def run_killed(step: str, move: Move) -> int:
    """Run `move` in a child process that is killed at `step`; return its exit code."""

    def work() -> None:
        owner, name, after, _ = STEPS[step]
        kill_in_call(owner, name, after=after)
        move()

    return run_in_child(work)


def make_moves(settings: Settings) -> list[Move]:
    """Return a move for each step: to another version, back to the champion, one challenge."""
    champion = recorder.read_recorded_release(settings).document.champion
    assert champion is not None
    found = mlflow_tracking.mlflow_client(settings).search_model_versions(
        f"name = '{settings.usecase}'"
    )
    other = max((v.version for v in found if str(v.version) != champion.version), key=int)
    me: dict[str, Any] = {"by": "chaos", "why": "killed on purpose"}

    def moves(version: str) -> list[Move]:
        return [
            lambda: promotion.challenge(settings, version, "shadow", again=True, **me),
            lambda: promotion.challenge(settings, version, "canary", 10, again=True, **me),
            lambda: promotion.promote(settings, version, again=True, **me),
        ]

    there = moves(str(other))
    return [*there, *moves(champion.version), there[0]]


def main() -> None:
    settings = load_settings()
    before = recorder.read_recorded_release(settings).document.champion
    for step, move in zip(STEPS, make_moves(settings), strict=True):
        assert run_killed(step, move) == -signal.SIGKILL, f"{step}: was not killed"
        assert recorder.read_recorded_release(settings).trail.problems == (), step
        move()
        assert verify_release(settings)[0] == [], step
    promotion.withdraw(settings, why="killed on purpose", by="chaos", bar=False)
    assert recorder.read_recorded_release(settings).document.champion == before
    print(f"killed at {len(STEPS)} steps, each time completed by the next; the record is whole")


if __name__ == "__main__":
    main()
