"""Releases whose process is killed at each step of the writing; the next call must carry them on.

Also run inside the stack, where there are no tests: `python - < tests/killed.py`. There version by
version is moved through shadow and canary to the top and back again; the last line says what held.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any

import mlflow

from pipelines.cli.release_history import verify_record
from pipelines.registry.versions import REGISTERED_MODEL
from pipelines.release import promotion
from pipelines.release.audit import recorder
from pipelines.training import mlflow_tracking
from serving.release import document as served
from settings import Settings, load_settings

# A child begins with what is imported here, and opens the database for itself.
FORK = multiprocessing.get_context("fork")
CLIENT = mlflow.MlflowClient
STEPS: dict[str, tuple[Any, str, bool, bool]] = {  # where, what, after it, does the change stand?
    "before the entry": (CLIENT, "create_run", False, False),
    "after the entry": (CLIENT, "create_run", True, False),
    "after its evidence": (CLIENT, "log_text", True, False),
    "after the document": (CLIENT, "set_registered_model_tag", True, True),
    "after the file": (served, "write_release", True, True),
    "after the alias": (CLIENT, "set_registered_model_alias", True, True),
    "before it is concluded": (CLIENT, "set_terminated", False, True),
}
Move = Callable[[], object]


def in_child(work: Move) -> int:
    """Runs `work` in a process of its own; its exit code, which is minus the signal's number."""
    child = FORK.Process(target=work)
    child.start()
    child.join(120)
    assert child.exitcode is not None
    return child.exitcode


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at(where: Any, name: str, *, after: bool) -> None:
    """Has this process killed in the call of `name`, before or after it is done."""
    real = getattr(where, name)

    def killed(*given: Any, **named: Any) -> None:
        if after:
            real(*given, **named)
        die()

    setattr(where, name, killed)


def killed(step: str, move: Move) -> int:
    """`move` in a process that is killed at `step`; its exit code."""

    def dying() -> None:
        where, name, after, _ = STEPS[step]
        killed_at(where, name, after=after)
        move()

    return in_child(dying)


def there_and_back(settings: Settings) -> list[Move]:
    """As many moves as steps: another version to the top, the champion back, and one withdrawn."""
    champion = recorder.read_recorded_release(settings).document.champion
    assert champion is not None
    found = mlflow_tracking.mlflow_client(settings).search_model_versions(
        f"name = '{REGISTERED_MODEL}'"
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
    for step, move in zip(STEPS, there_and_back(settings), strict=True):
        assert killed(step, move) == -signal.SIGKILL, f"{step}: was not killed"
        assert recorder.read_recorded_release(settings).trail.problems == (), step
        move()
        assert verify_record(settings)[0] == [], step
    promotion.withdraw(settings, why="killed on purpose", by="chaos", bar=False)
    assert recorder.read_recorded_release(settings).document.champion == before
    print(f"killed at {len(STEPS)} steps, each time carried on by the next; the record is whole")


if __name__ == "__main__":
    main()
