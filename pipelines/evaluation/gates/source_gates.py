"""Gates on the sources of a version: recorded data, point-in-time features, online parity."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from contract import Tables
from features.validated_cases import read_cases
from pipelines.evaluation.gates.verdict import (
    Limits,
    Verdict,
    at_most,
    could_not_run,
    worst_verdict,
)
from pipelines.training.training_files import TrainingFiles
from settings import Settings

RECORDED_FOLDERS = ("training", "candidates")  # of the use case's data


@dataclass(frozen=True)
class TrainingSources:
    """A training in the workspace `path`, and the home (`settings`) whose store serves it.

    `md5s` are the recorded ones by path; `seed` draws the samples.
    """

    settings: Settings
    path: Path
    md5s: Mapping[str, str]
    seed: int
    tables: Tables | None = None  # of a proof; those of the use case if None

    @cached_property
    def files(self) -> TrainingFiles:
        return TrainingFiles(self.path, self.settings.use_case)

    @cached_property
    def workspace(self) -> Settings:
        return Settings(**{**self.settings.model_dump(), "workspace": self.path})


def data_are_those_recorded(sources: TrainingSources, limits: Limits) -> Verdict:
    """Training set and candidates have the recorded md5, by which they can be restored."""
    verdicts = []
    for name in RECORDED_FOLDERS:
        path = sources.files.data / name
        recorded = sources.md5s.get(path.relative_to(sources.path).as_posix())
        md5 = folder_md5(path)
        text = f"folders with another md5: {name} has {md5}, recorded is {recorded}"
        verdicts.append(at_most(float(md5 != recorded), 0.0, text))
    return worst_verdict(verdicts)


def known_at_the_decision(sources: TrainingSources, limits: Limits) -> Verdict:
    """Features rebuilt only from data known at the decision equal those of the training set."""
    from features import skew_checks

    moments = sampled_moments(sources, limits["recomputed_moments"])
    frame, counts, n_cases = sources.files.frame, Counter[str](), 0
    spine = read_cases(sources.workspace, date.min, max(moments).date())
    for moment in moments:
        rows = frame[frame["decision_time"] == moment]
        cases = spine[spine["key"].isin(set(rows["key"]))].reset_index(drop=True)
        rebuilt = skew_checks.recompute_without_future(
            sources.workspace, cases, moment.to_pydatetime(), sources.tables
        )
        trained = rows.set_index("key").loc[rebuilt["key"]].reset_index()
        counts.update(skew_checks.count_differing_rows(sources.settings.use_case, rebuilt, trained))
        n_cases += len(cases)
    if not n_cases:
        return could_not_run("no case")
    text = f"of {n_cases:,} cases at {len(moments)} times, values that need later data"
    return at_most(counts.total(), 0.0, text + _top_counts(counts))


def online_as_offline(sources: TrainingSources, limits: Limits) -> Verdict:
    """The online store is as new as the training and returns the same value for each feature."""
    from features import skew_checks
    from features.publication_record import published_until

    published = published_until(sources.settings)
    if published is None:
        return Verdict(False, None, 0.0, "nothing is published online")
    as_of = datetime.fromisoformat(sources.files.manifest["as_of"])
    lag = (as_of - published).total_seconds() / 3600
    if lag > limits["max_online_lag_hours"]:
        text = "hours by which the online store is older than the training"
        return Verdict(False, lag, limits["max_online_lag_hours"], text)
    cases = read_cases(sources.settings, date.min, published.date())
    distance = (cases["decision_time"] - pd.Timestamp(published)).abs()
    cases = cases[distance <= pd.Timedelta(days=1)]
    if cases.empty:
        return could_not_run(f"no case near {published}")
    cases = cases.sample(min(len(cases), limits["parity_rows"]), random_state=sources.seed)
    rows = skew_checks.online_and_offline_rows(sources.settings, cases)
    counts = Counter(skew_checks.count_differing_rows(sources.settings.use_case, *rows))
    text = f"of {len(cases):,} cases as of {published:%Y-%m-%d %H:%M} UTC, values that differ"
    return at_most(counts.total(), 0.0, text + _top_counts(counts))


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
    counts = sources.files.holdout["decision_time"].value_counts().sort_index()
    drawn = np.random.default_rng(sources.seed).choice(
        len(counts), size=min(n_moments, len(counts)), replace=False, p=counts / counts.sum()
    )
    return [counts.index[number] for number in sorted(drawn)]


def _top_counts(counts: Counter[str]) -> str:
    return "".join(f"; {name}: {count}" for name, count in counts.most_common(5))


SOURCE_GATES: tuple[Callable[[TrainingSources, Limits], Verdict], ...] = (
    data_are_those_recorded, known_at_the_decision, online_as_offline,
)  # fmt: skip
