"""Gates on the sources of a version: recorded data, point-in-time features, online parity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.table_builder import Tables
from features.validated_cases import read_cases
from pipelines.evaluation.gates.verdict import Limits, Verdict, at_most, worst_verdict
from settings import Settings
from usecase.feature_views import TABLES

RECORDED_FOLDERS = ("data/training", "data/candidates")


@dataclass(frozen=True)
class TrainingSources:
    """A training run in the workspace `path`, and the home (`settings`) whose store serves it.

    `md5s` are the recorded ones by path; `seed` draws the samples.
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
    """Training set and candidates have the recorded md5, by which they can be restored."""
    gate, verdicts = "data are those recorded", []
    for name in RECORDED_FOLDERS:
        md5 = folder_md5(sources.path / name)
        text = f"folders with another md5: {name} has {md5}, recorded is {sources.md5s.get(name)}"
        same = md5 == sources.md5s.get(name)
        verdicts.append(Verdict(gate, same, float(not same), 0.0, text))
    return worst_verdict(gate, verdicts)


def known_at_the_decision(sources: TrainingSources, limits: Limits) -> Verdict:
    """Features rebuilt only from data known at the decision equal those of the training set."""
    from features import skew_checks

    moments = sampled_moments(sources, limits["recomputed_moments"])
    counts: dict[str, int] = {}
    n_cases = 0
    for moment in moments:
        rows = sources.frame[sources.frame["decision_time"] == moment]
        cases = _cases(sources.workspace, rows["key"], moment)
        rebuilt = skew_checks.recompute_without_future(
            sources.workspace, cases, moment.to_pydatetime(), sources.tables
        )
        trained = rows.set_index("key").loc[rebuilt["key"]].reset_index()
        for name, count in skew_checks.count_differing_rows(rebuilt, trained).items():
            counts[name] = counts.get(name, 0) + count
        n_cases += len(rows)
    if not n_cases:
        return Verdict("known at the decision", False, None, None, "could not run: no case")
    text = f"of {n_cases:,} cases at {len(moments)} times, values that need later data"
    return at_most("known at the decision", sum(counts.values()), 0.0, text + _top_counts(counts))


def online_as_offline(sources: TrainingSources, limits: Limits) -> Verdict:
    """The online store is as new as the training and returns the same value for each feature."""
    from features import skew_checks
    from features.publication_record import published_until

    gate, published = "online as offline", published_until(sources.settings)
    if published is None:
        return Verdict(gate, False, None, 0.0, "nothing is published online")
    lag = (sources.as_of - published).total_seconds() / 3600
    if lag > limits["max_online_lag_hours"]:
        text = "hours by which the online store is older than the training"
        return Verdict(gate, False, lag, limits["max_online_lag_hours"], text)
    cases = _cases_near(sources.settings, published)
    cases = cases.sample(min(len(cases), limits["parity_rows"]), random_state=sources.seed)
    if cases.empty:
        return Verdict(gate, False, None, None, f"could not run: no case near {published}")
    compared = skew_checks.online_and_offline_rows(sources.settings, cases)
    counts = skew_checks.count_differing_rows(*compared)
    text = f"of {len(cases):,} cases as of {published:%Y-%m-%d %H:%M} UTC, values that differ"
    return at_most(gate, sum(counts.values()), 0.0, text + _top_counts(counts))


def folder_md5(folder: Path) -> str:
    """Return DVC's md5 of a folder."""
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db import HashFileDB
    from dvc_objects.fs.local import LocalFileSystem

    files: Any = LocalFileSystem()  # type: ignore[no-untyped-call]
    _, _, built = build(
        HashFileDB(files, str(folder.parent)), str(folder), files, "md5", dry_run=True
    )
    return str(built.hash_info.value)


def sampled_moments(sources: TrainingSources, n_moments: int) -> list[pd.Timestamp]:
    """Draw decision times of the holdout by the seed, with probabilities by number of cases."""
    times = sources.frame["decision_time"]
    counts = times[times >= sources.holdout_start].value_counts().sort_index()
    drawn = np.random.default_rng(sources.seed).choice(
        len(counts), size=min(n_moments, len(counts)), replace=False, p=counts / counts.sum()
    )
    return [counts.index[number] for number in sorted(drawn)]


def _cases(settings: Settings, keys: pd.Series, moment: pd.Timestamp) -> pd.DataFrame:
    cases = read_cases(settings.data, date.min, moment.date())
    return cases[cases["key"].isin(set(keys))].reset_index(drop=True)


def _cases_near(settings: Settings, moment: datetime) -> pd.DataFrame:
    """Return the cases decided within a day of `moment`."""
    cases = read_cases(settings.data, date.min, moment.date())
    near = (cases["decision_time"] - pd.Timestamp(moment)).abs() <= pd.Timedelta(days=1)
    return cases[near]


def _top_counts(counts: Mapping[str, int]) -> str:
    names = sorted(counts, key=lambda name: -counts[name])[:5]
    return "".join(f"; {name}: {counts[name]}" for name in names)


SOURCE_GATES: tuple[Callable[[TrainingSources, Limits], Verdict], ...] = (
    data_are_those_recorded, known_at_the_decision, online_as_offline,
)  # fmt: skip
