"""Features: defined once, built from validated batches, read alike by training and serving.

How each feature is computed: the use case's `tables`, one compute function per table. Feast's
views of the tables: its `views`. This room builds, joins and publishes these tables.

Build `features` below `settings.data`:
- `table_builder.py`: call the compute functions; write one file per table and day
- `build_manifest.py`: record the inputs of each day; tell which days are out of date
Read for training:
- `point_in_time.py`: join features to cases at their decision times
- `skew_checks.py`: features without later rows, and online against offline, for the gates
- `asof_store.py`: Feast's offline store on DuckDB's `ASOF JOIN`
Publish and read online:
- `online_publisher.py`: write new rows to the online store, or rebuild it
- `publication_record.py`: the store's record of its newest complete publication
- `online_reader.py`: look up features for requests, within their time to live
- `online_values.py`, `sqlite_store.py`, `sqlite_rows.py`, `redis_store.py`: the stores themselves
- `feast_store.py`: open Feast and register the definitions
The loop:
- `loop_time.py`: its time, by the simulated clock
Files:
- `partitions.py`, `column_types.py`: daily Parquet partitions and their column types
- `validated_cases.py`: cases and labels of a range of days
- `durable_files.py`, `locks.py`: atomic writes and locks between processes
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


class _FeastFinder(PathFinder):
    """Imports Feast without typeguard's checks; typeguard is unchanged before and after."""

    @classmethod
    def find_spec(cls, fullname: str, *args: Any) -> ModuleSpec | None:
        spec = super().find_spec(fullname, *args) if fullname == "feast" else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_unchecked(module: ModuleType) -> None:
            from unittest import mock  # imported here: light commands import this package

            import typeguard

            with mock.patch.object(typeguard, "typechecked", lambda target: target):
                execute(module)

        spec.loader.exec_module = execute_unchecked  # type: ignore[method-assign]
        return spec


# typeguard would rewrite Feast's classes to check the types of every call. The import of Feast
# would take 2.8 times as long, 6.1 s of CPU time instead of 2.1 s (tests/bench/imports.py).
# Neither Feast nor typeguard has a switch for it but `python -O`, which drops all assertions
# (https://github.com/agronholm/typeguard/pull/475 asks for one).
sys.meta_path.insert(0, _FeastFinder)
