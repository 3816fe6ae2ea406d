"""CPU time of Feast's stock offline store relative to the ASOF JOIN store, for the same values."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
from feast import FeatureStore, RepoConfig
from measure import compare
from year import END, cases

from features import partitions
from usecase.feature_views import LOOKUP, OBJECTS
from usecase.source import FIRST_DAY
from usecase.target import SPINE_FEED, spine

N_CASES = 10_000


@contextmanager
def stores() -> Iterator[list[FeatureStore]]:
    """Yield the stock store and the ASOF JOIN store, on a temporary registry."""
    with tempfile.TemporaryDirectory() as folder:
        opened = [
            FeatureStore(
                config=RepoConfig(
                    project="bench", provider="local", registry=f"{folder}/registry.db",
                    online_store={"type": "sqlite", "path": f"{folder}/online.db"},
                    offline_store={"type": kind}, entity_key_serialization_version=3,
                )
            )
            for kind in ("duckdb", "features.asof_store.AsofOfflineStore")
        ]  # fmt: skip
        opened[0].apply(OBJECTS)
        yield opened


def read(store: FeatureStore, case_rows: pd.DataFrame) -> pd.DataFrame:
    job = store.get_historical_features(
        case_rows, store.get_feature_service(LOOKUP.name), filter_by_created_timestamp=True
    )
    return job.to_df().sort_values("key", ignore_index=True)


def main() -> None:
    warnings.filterwarnings("ignore")
    settings, _ = cases()
    os.chdir(settings.root)
    known = partitions.read_days(settings.data, "validated", SPINE_FEED, FIRST_DAY, END.date())
    case_rows = spine(known).sample(N_CASES, random_state=settings.params()["seed"])
    case_rows = case_rows.rename(columns={"decision_time": "event_timestamp"})
    print("\n## The point-in-time join (`tests/bench/point_in_time.py`)\n")
    with stores() as (stock, ours):
        expected, found = read(stock, case_rows), read(ours, case_rows)
        pd.testing.assert_frame_equal(expected, found[expected.columns], check_dtype=False)
        print(f"- {N_CASES:,} cases drawn from the year, {expected.shape[1]} columns: same values")
        what = "Feast's stock duckdb store, relative to the ASOF JOIN"
        compare(what, lambda: read(stock, case_rows), lambda: read(ours, case_rows), repeats=3)


if __name__ == "__main__":
    main()
