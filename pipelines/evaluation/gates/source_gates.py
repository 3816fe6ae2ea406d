"""Is a version made from what is on record, and will it be served what it was trained on?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features import partitions
from features.table_builder import Tables
from pipelines.evaluation.gates.verdict import Limits, Verdict, at_most, worst_verdict
from settings import Settings
from usecase.feature_views import TABLES

RECORDED_FOLDERS = ("data/training", "data/candidates")


@dataclass(frozen=True)
class TrainingSources:
    """A training run in the workspace `path`, and the home (`settings`) whose store will serve it.

    `md5s` are those on record, by path; `sample` is drawn by `seed`.
    """

    settings: Settings
    path: Path
    md5s: Mapping[str, str]
    frame: pd.DataFrame
    as_of: datetime
    holdout_start: datetime
    columns: list[str]
    seed: int
    tables: Tables = field(default_factory=lambda: TABLES)

    @cached_property
    def workspace(self) -> Settings:
        return Settings(**{**self.settings.model_dump(), "workspace": self.path})


def data_are_those_recorded(sources: TrainingSources, limits: Limits) -> Verdict:
    """What the model was fitted on has the md5 on record, by which it can be had back."""
    gate, found = "data are those recorded", []
    for name in RECORDED_FOLDERS:
        md5 = folder_md5(sources.path / name)
        told = f"folders of another md5: {name} has {md5}, on record is {sources.md5s.get(name)}"
        same = md5 == sources.md5s.get(name)
        found.append(Verdict(gate, same, float(not same), 0.0, told))
    return worst_verdict(gate, found)


def known_at_the_decision(sources: TrainingSources, limits: Limits) -> Verdict:
    """Built anew without anything that became known after the decision, features are the same."""
    from features import parity, recompute

    moments = sampled_moments(sources, limits["recomputed_moments"])
    counts: dict[str, int] = {}
    n_cases = 0
    for moment in moments:
        rows = sources.frame[sources.frame["decision_time"] == moment]
        cases = _cases(sources.workspace, rows["key"], moment)
        again = recompute.recompute_without_future(
            sources.workspace, cases, moment.to_pydatetime(), sources.tables
        )
        trained = rows.set_index("key").loc[again["key"]].reset_index()
        for name, count in parity.count_differing_rows(again, trained).items():
            counts[name] = counts.get(name, 0) + count
        n_cases += len(rows)
    if not n_cases:
        return Verdict("known at the decision", False, None, None, "no case: could not run")
    told = f"of {n_cases:,} cases at {len(moments)} moments, values that need the future"
    return at_most("known at the decision", sum(counts.values()), 0.0, told + _listed(counts))


def online_as_offline(sources: TrainingSources, limits: Limits) -> Verdict:
    """The online store is as new as the training, and answers value for value what it sees."""
    from features import parity
    from features.publication_record import published_until

    gate, stands = "online as offline", published_until(sources.settings)
    if stands is None:
        return Verdict(gate, False, None, 0.0, "nothing was ever published online")
    lag = (sources.as_of - stands).total_seconds() / 3600
    if lag > limits["max_online_lag_hours"]:
        told = "hours by which the online store is older than the training"
        return Verdict(gate, False, lag, limits["max_online_lag_hours"], told)
    cases = _cases_near(sources.settings, stands)
    cases = cases.sample(min(len(cases), limits["parity_rows"]), random_state=sources.seed)
    if cases.empty:
        return Verdict(gate, False, None, None, f"no case near {stands}: could not run")
    counts = parity.count_differing_rows(*parity.online_and_offline_rows(sources.settings, cases))
    told = f"of {len(cases):,} cases as of {stands:%Y-%m-%d %H:%M} UTC, values that differ"
    return at_most(gate, sum(counts.values()), 0.0, told + _listed(counts))


def folder_md5(folder: Path) -> str:
    """The md5 by which DVC knows a folder."""
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db import HashFileDB
    from dvc_objects.fs.local import LocalFileSystem

    files: Any = LocalFileSystem()  # type: ignore[no-untyped-call]
    _, _, built = build(
        HashFileDB(files, str(folder.parent)), str(folder), files, "md5", dry_run=True
    )
    return str(built.hash_info.value)


def sampled_moments(sources: TrainingSources, n_moments: int) -> list[pd.Timestamp]:
    """Decision times in the holdout, drawn by the seed: each with its chance by its cases."""
    times = sources.frame["decision_time"]
    counts = times[times >= sources.holdout_start].value_counts().sort_index()
    drawn = np.random.default_rng(sources.seed).choice(
        len(counts), size=min(n_moments, len(counts)), replace=False, p=counts / counts.sum()
    )
    return [counts.index[number] for number in sorted(drawn)]


def _cases(settings: Settings, keys: pd.Series, moment: pd.Timestamp) -> pd.DataFrame:
    from usecase.target import SPINE_FEED, spine

    # A case is on the schedule before its decision, for how long differs.
    schedule = partitions.read_days(settings.data, "validated", SPINE_FEED, date.min, moment.date())
    cases = spine(schedule)
    return cases[cases["key"].isin(set(keys))].reset_index(drop=True)


def _cases_near(settings: Settings, moment: datetime) -> pd.DataFrame:
    """Those decided within a day of it."""
    from usecase.target import SPINE_FEED, spine

    schedule = partitions.read_days(settings.data, "validated", SPINE_FEED, date.min, moment.date())
    cases = spine(schedule) if len(schedule) else pd.DataFrame({"decision_time": []})
    near = (cases["decision_time"] - pd.Timestamp(moment)).abs() <= pd.Timedelta(days=1)
    return cases[near]


def _listed(counts: Mapping[str, int]) -> str:
    most = sorted(counts, key=lambda name: -counts[name])[:5]
    return "".join(f"; {name}: {counts[name]}" for name in most)


SOURCE_GATES: tuple[Callable[[TrainingSources, Limits], Verdict], ...] = (
    data_are_those_recorded, known_at_the_decision, online_as_offline,
)  # fmt: skip
