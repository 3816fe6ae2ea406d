"""Time and memory of Feast's stock offline store and of the ASOF JOIN store, for the same values.

    point_in_time.py [--all]

`--all` also runs the stock store on ten years, which takes about 20 minutes and 9 GiB.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pandas as pd
from feast import FeatureStore, RepoConfig
from measure import cpu_seconds, format_duration
from year import END, home

from features import partitions
from features.asof_store import AsofOfflineStoreConfig
from features.feast_store import LOOKUP, feast_objects
from tests.use_case import USE_CASE

STOCK, OURS = "duckdb", AsofOfflineStoreConfig().type
COPIES = 10


def year_cases(copies: int) -> pd.DataFrame:
    """Return all cases of the year, each `copies` times with another key, a second apart."""
    data, feed = home().data, USE_CASE.spine_feed
    first = partitions.partition_days(data, "validated", feed)[0]
    rows = partitions.read_days(data, "validated", feed, first, END.date())
    cases = USE_CASE.spine(rows).rename(columns={"decision_time": "event_timestamp"})
    repeated = [
        cases.assign(
            key=cases["key"] + f"#{copy}",
            event_timestamp=cases["event_timestamp"] + pd.Timedelta(seconds=copy),
        )
        for copy in range(copies)
    ]
    return pd.concat(repeated, ignore_index=True)


def join(kind: str, copies: int, target: Path) -> None:
    """Join the features to the cases by one store, write them to `target`, and print the cost."""
    warnings.filterwarnings("ignore")
    os.chdir(home().root)
    case_rows = year_cases(copies)
    store = FeatureStore(
        config=RepoConfig(
            project="bench", provider="local", registry=str(target.with_suffix(".registry")),
            online_store={"type": "sqlite", "path": str(target.with_suffix(".online"))},
            offline_store={"type": kind}, entity_key_serialization_version=3,
        )
    )  # fmt: skip
    store.apply(feast_objects(USE_CASE.views()))
    service = store.get_feature_service(LOOKUP)
    frames: list[pd.DataFrame] = []
    before, started = _peak(), time.monotonic()
    spent = cpu_seconds(
        lambda: frames.append(
            store.get_historical_features(
                case_rows, service, filter_by_created_timestamp=True
            ).to_df()
        )
    )
    print(
        f"- {kind}, {len(case_rows):,} cases: {format_duration(time.monotonic() - started)}, "
        f"{format_duration(spent)} of CPU time, peak memory {_peak():.1f} GiB "
        f"({before:.1f} GiB before the join)",
        flush=True,
    )
    frames[0].sort_values("key", ignore_index=True).to_parquet(target)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    if sys.argv[1:2] == ["--join"]:
        join(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
        return
    print("\n## The point-in-time join (`tests/bench/point_in_time.py`)\n")
    print(f"Each in a new process. The larger set has each case {COPIES} times, a second apart.\n")
    for copies in (1, COPIES):
        kinds = [OURS] if copies == COPIES and "--all" not in sys.argv else [STOCK, OURS]
        with tempfile.TemporaryDirectory() as folder:
            targets = [Path(folder) / f"{kind}.parquet" for kind in kinds]
            for kind, target in zip(kinds, targets, strict=True):
                sys.stdout.flush()
                command = [sys.executable, __file__, "--join", kind, str(copies), str(target)]
                subprocess.run(command, check=True)
            if kinds == [OURS]:
                print(f"- {STOCK} on the larger set: not measured without `--all`")
                continue
            expected, found = (pd.read_parquet(target) for target in targets)
            pd.testing.assert_frame_equal(expected, found[expected.columns], check_dtype=False)
            print(f"- {len(found):,} cases: both stores return the same values")


if __name__ == "__main__":
    main()
