"""Features: defined once, built from validated batches, read alike by training and serving.

How each feature is computed: `usecase/feature_views.py`, one compute function and Feast view per
table. This room builds, joins and publishes these tables.

Build `data/features`:
- `table_builder.py`: call the compute functions; write one file per table and day
- `build_manifest.py`: record the inputs of each day; tell which days are out of date
- `recompute.py`: features computed without later rows, for the gate against leaks
Read for training:
- `point_in_time.py`: join features to cases at their decision times
- `asof_store.py`: Feast's offline store on DuckDB's `ASOF JOIN`
Publish and read online:
- `online_publisher.py`: write new rows to the online store, or rebuild it
- `publication_record.py`: the store's record of its newest complete publication
- `online_reader.py`: look up features for requests, within their time to live
- `online_values.py`, `sqlite_store.py`, `sqlite_file.py`, `redis_store.py`: the stores themselves
- `parity.py`: compare online and offline values
- `feast_store.py`: open Feast and register the definitions
Files:
- `partitions.py`, `column_types.py`: daily Parquet partitions and their column types
- `validated_cases.py`: cases and labels of a range of days
- `durable_files.py`, `locks.py`, `data_lock.py`: atomic writes and locks between processes
"""

import typeguard


def _unchecked(target: object = None, **_: object) -> object:
    return target


# typeguard would rewrite Feast's classes to check the types of every call. That is most of the
# time of Feast's import (`make bench`, tests/bench/imports.py). typeguard's documentation advises
# against it in production. `python -O` would also disable it, but drops all assertions.
typeguard.typechecked = _unchecked  # type: ignore[assignment]
