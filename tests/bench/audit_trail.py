"""Time of a recorded change and size of its code, printed by `make bench`."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from measure import compare

import pipelines.release.audit as room
from pipelines.release import rollback
from pipelines.release.audit import entry_store, recorder
from pipelines.training import mlflow_tracking
from settings import Settings
from tests.use_case import USE_CASE

ME = {"by": "bench", "why": "measured"}
REPEATS = 20


def wall_seconds(run: Callable[[], object]) -> float:
    """Return the time of `run`, with its waits for the disk."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main() -> None:
    print("\n## The audit trail of releases (`tests/bench/audit_trail.py`)\n")
    for file in sorted(Path(room.__path__[0]).glob("*.py")):
        print(f"- `{file.name}`: {len(file.read_text().splitlines())} lines")
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder))
        rollback.freeze(settings, **ME)
        client = mlflow_tracking.mlflow_client(settings)
        [entry] = recorder.read_recorded_release(settings).trail.entries
        engine = sa.create_engine(f"sqlite:///{folder}/entries.db")
        columns = [sa.Column(name, sa.String) for name in ("body", "digest")]
        table = sa.Table("entries", sa.MetaData(), *columns)
        table.metadata.create_all(engine)

        def add_row() -> None:
            with engine.begin() as connection:
                connection.execute(table.insert().values(body=entry.body, digest=entry.digest))

        def add_run() -> None:
            client.delete_run(entry_store.append_entry(settings, client, entry, "{}"))

        def change() -> None:
            rollback.unfreeze(settings, **ME)
            rollback.freeze(settings, **ME)

        compare(
            "an entry as a run with its evidence, relative to a row of an SQLite table",
            add_run, add_row, repeats=REPEATS, clock=wall_seconds,
        )  # fmt: skip
        compare(
            "two whole changes, relative to an entry as a run",
            change, add_run, repeats=REPEATS, clock=wall_seconds,
        )  # fmt: skip
        for text in ("first", "second"):
            client.set_registered_model_tag(USE_CASE.name, "decision", text)
        kept = client.get_registered_model(USE_CASE.name).tags["decision"]
        print(f"- a tag of the registry that was written twice holds: {kept}")


if __name__ == "__main__":
    main()
