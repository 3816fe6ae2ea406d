"""The contract: what a use case is. Everything else in the project is given a `UseCase`.

A use case is a folder `usecases/<name>/`. Its `__init__.py` defines `USE_CASE`, an instance of a
subclass of `UseCase`; beside it are `params.yaml` and `card.md`. What has no default must be
stated. What has a default may be left out: the gates and the card then say "none stated".

Commands import this file and `USE_CASE` to print their help, so neither may import a tool. A method
imports what it needs. Times are in UTC, days are UTC days. The file has more lines than others
because a use case is described in one place.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import great_expectations.expectations as gxe
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from feast import Entity, FeatureView
    from feast.on_demand_feature_view import OnDemandFeatureView
    from pydantic import BaseModel
    from sklearn.base import BaseEstimator

    from serving.http.answer import Answer

CONTRACT = 1  # the version of this file; docs/upgrade.md says what changed
FOLDER = Path(__file__).parent / "usecases"

Bounds = Mapping[str, tuple[float, float]]  # smallest and largest value, by column or fact
# Returns the validated rows of a feed from a first to a last day, both included.
Read = Callable[[str, date, date], "pd.DataFrame"]
# Takes `read`, and the first and last day to build. Returns the keys of the entity, the features,
# `event_timestamp`, and `day`: the batch that completes the row. The days that it reads have fixed
# distances from the first and last day, or start at a fixed day.
ComputeTable = Callable[[Read, date, date], "pd.DataFrame"]
Tables = Mapping[str, tuple[ComputeTable, str]]  # by table: also the feed that makes it due
Predict = Callable[["pd.DataFrame"], "np.ndarray"]  # the model's columns to probabilities (n,)


class FeatureViews(NamedTuple):
    """Feast's definitions: the entities, a view of each table, and the features on demand.

    `on_demand` computes features from the views and the request; None without such features.
    """

    entities: Sequence[Entity]
    views: Sequence[FeatureView]
    on_demand: OnDemandFeatureView | None = None


class Change(NamedTuple):
    """What `behaviours` measured: `value` must be at least (or at most) `limit`."""

    value: float
    limit: float
    at_least: bool = True

    @property
    def passed(self) -> bool:
        """Whether the limit is kept; a value that is not a number fails."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


class GateFault(NamedTuple):
    """A fault that `mlops prove` puts into a real candidate, and the gate that must refuse it.

    `kind` is the place of the fault:
    - "fit": `change(rows, extra)` of the rows that the candidate is fitted on
    - "rows": the same for all rows, including those of the evaluation
    - "refit": the same for the rows of the refit
    - "scores": `change(rows, scores)` of the candidate's probabilities
    - "tables": compute functions by table, which replace those of `tables` everywhere
    - "online": the same, only for the values published online
    `extra` has the columns of the cases that the model does not see, with their `key`.
    """

    description: str
    gate: str
    kind: Literal["fit", "rows", "refit", "scores", "tables", "online"]
    change: Any


class FeedFault(NamedTuple):
    """A fault that `mlops prove --monitoring` puts into batches.

    `watcher` must notice it within `hours`, and `reaction` must follow. Where no watcher is
    expected, `why` gives the reason. `change` takes `publish(feed, day)`, which returns the real
    batch, then the feed, the day, and the first day of the fault; it returns the batch to publish.
    """

    description: str
    watcher: Literal["validation", "freshness", "labels", "performance", "drift", "none"]
    reaction: Literal["refuse", "alarm", "retrain", "nothing"]
    hours: float
    change: Callable[[Callable[[str, date], pd.DataFrame], str, date, date], pd.DataFrame]
    why: str = ""
    begins: int = 3  # days after the champion's training
    days: int = 5  # watched after it begins


class UseCase(ABC):
    """One use case: its data, label, features, candidates, request, and what it may also state."""

    contract: int = CONTRACT  # the version that it was written for
    kind: Literal["binary"] = "binary"  # of the prediction
    serving: Literal["online"] = "online"
    time_zone: str = "UTC"  # of its schedules
    past_days: tuple[date, date] | None = None  # first and last day of past data; None: live

    @property
    def folder(self) -> Path:
        """The folder of the use case, with `params.yaml` and `card.md`."""
        return FOLDER / self.name

    # --- Feeds ---

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of its folder. Its data, models, deployments and metrics have this name."""

    @property
    @abstractmethod
    def feeds(self) -> Mapping[str, Sequence[str]]:
        """The feeds, each with the columns that are the key of a row within a batch."""

    @abstractmethod
    def schema(self, feed: str) -> pa.Schema:
        """Return the columns of a raw batch in order, with `known_at` (UTC, microseconds)."""

    @abstractmethod
    def fetch(self, feed: str, day: date) -> pd.DataFrame:
        """Return the rows that became known on `day`, ordered by `known_at`.

        Raise `LookupError` if the feed publishes nothing on that day.
        """

    def due(self, feed: str, day: date) -> bool:
        """Return whether the feed publishes a batch on `day`. Default: on every day of the data."""
        return self.past_days is None or self.past_days[0] <= day <= self.past_days[1]

    def restated(self, feed: str, as_of: datetime) -> Sequence[date]:
        """Return the days whose batch the source has published again by `as_of`. Default: none."""
        return ()

    def world_time(self, now: datetime, *, as_of: datetime, since: datetime) -> datetime:
        """Return the time of the data at `now`. At the real time `since` it was `as_of`.

        Default: `now`, or for past data a clock that goes on from `as_of`.
        """
        return now if self.past_days is None else as_of + (now - since)

    def checks(self, feed: str, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows with added columns, for rules that compare columns. Default: none.

        Each value depends on its own row alone, so rows pass or fail independently.
        """
        return rows

    def facts(self, feed: str, rows: pd.DataFrame) -> Mapping[str, float]:
        """Return facts of a raw batch besides the general ones, for batch rules. Default: none.

        NaN, which no rule checks, if a fact can't be measured.
        """
        return {}

    def row_rules(self, feed: str) -> Sequence[gxe.Expectation]:
        """Return new rules for every row; a row that breaks one goes to quarantine. Default: none.

        `meta["rule"]` names a rule. Key and `known_at` are always checked.
        """
        return ()

    def batch_bounds(self, feed: str) -> Bounds:
        """Return bounds on the facts of a batch; a batch beyond one is refused. Default: none.

        The facts are those of `pipelines.ingestion.batch_facts` and of `facts`; the project bounds
        some of them for every feed (`pipelines.ingestion.rules`).
        """
        return {}

    # --- Cases and labels ---

    @property
    @abstractmethod
    def cadence(self) -> timedelta:
        """The time between the decisions on one entity, such as an hour or a week."""

    @property
    @abstractmethod
    def horizon(self) -> timedelta:
        """The time from a decision until its label counts, in training and monitoring alike.

        Set it to the time by which every label is known, if one value may be known before the
        other: a yes at once and a no at the end. 0: a label counts as soon as it is known.
        """

    @property
    @abstractmethod
    def spine_feed(self) -> str:
        """The feed that lists the cases."""

    @property
    @abstractmethod
    def label_feed(self) -> str:
        """The feed from which the labels follow."""

    @abstractmethod
    def spine(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the cases in rows of the spine's feed, one each.

        The columns are `key` (text), `decision_time`, the keys of the entities, and what the
        request provides. Of several rows about a case, the newest known at its decision counts.
        """

    @abstractmethod
    def labels(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return `key`, `label` (0 or 1) and `known_at` of rows of the label's feed.

        A key has one row for each change of its label.
        """

    # --- Features ---

    @property
    @abstractmethod
    def categories(self) -> Sequence[str]:
        """The columns of the model that are text."""

    @property
    @abstractmethod
    def numbers(self) -> Sequence[str]:
        """The columns of the model that are numbers."""

    @property
    def features(self) -> list[str]:
        """All columns that the model sees, in this order."""
        return [*self.categories, *self.numbers]

    @abstractmethod
    def tables(self) -> Tables:
        """Return the feature tables, each with its compute function and the feed that it is of."""

    @abstractmethod
    def views(self) -> FeatureViews:
        """Return Feast's definitions: a view of each table, with the table's name."""

    # --- Models ---

    @abstractmethod
    def candidates(
        self, params: Mapping[str, Any]
    ) -> Mapping[str, tuple[BaseEstimator, dict[str, Any]]]:
        """Return unfitted estimators over a frame of `features`, each with its search space."""

    def baseline(self, train: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
        """Return an answer without a model, shape (n_rows,). Default: the rate of the label.

        `train` has the features and the label of known cases, `rows` the features of others.
        """
        import numpy as np

        return np.full(len(rows), float(train["label"].mean()))

    def slices(self, frame: pd.DataFrame) -> Mapping[str, pd.Series]:
        """Return kinds of slices, each with the slice of each row as text. Default: none.

        Gates and monitoring judge each slice.
        """
        return {}

    def behaviours(
        self, predict: Predict, rows: pd.DataFrame, limits: Mapping[str, Any]
    ) -> Mapping[str, Change]:
        """Return what changes of the input do to the answers, by description. Default: none.

        `rows` are real cases with the model's columns.
        """
        return {}

    # --- Serving ---

    @abstractmethod
    def request(self) -> type[BaseModel]:
        """Return the schema of a request: one case as a client states it."""

    @abstractmethod
    def key(self, request: Any) -> str:
        """Return the key of the requested case, the same text as in `spine`."""

    @abstractmethod
    def decision_time(self, request: Any) -> datetime:
        """Return the time of the decision on the requested case."""

    @abstractmethod
    def entity_row(self, request: Any) -> Mapping[str, Any]:
        """Return what the features are looked up by: the columns of `spine` that are not the case's
        own `key` and `decision_time`."""

    @abstractmethod
    def payload(self, case: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request for a row of `spine`, as JSON types."""

    def response(self) -> type[Answer]:
        """Return the schema of an answer: a subclass of `serving.http.answer.Answer`.

        It may give fields descriptions of its own, and other names by an alias.
        """
        from serving.http.answer import Answer

        return Answer

    def alternatives(self, request: Any) -> Sequence[tuple[str, Any]]:
        """Return possible changes of the case, each with a description, the smallest first.

        `/explain` names the first that flips the decision. Default: none.
        """
        return ()

    # --- Proofs ---

    def gate_faults(self) -> Sequence[GateFault]:
        """Return faults of its own that the gates must refuse. Default: none."""
        return ()

    def feed_faults(self) -> Sequence[FeedFault]:
        """Return faults in its feeds, and harmless changes (watcher "none"). Default: none."""
        return ()


@cache
def load_use_case(name: str) -> UseCase:
    """Return the use case in `usecases/<name>/`; raise `LookupError` if there is none."""
    if name not in use_case_names():
        known = ", ".join(use_case_names()) or "none"
        raise LookupError(f"There is no use case {name!r} in usecases/. There are: {known}.")
    use_case: UseCase = importlib.import_module(f"usecases.{name}").USE_CASE
    return use_case


def use_case_names() -> list[str]:
    """Return the names of the folders in `usecases/`, sorted."""
    return sorted(path.parent.name for path in FOLDER.glob("[a-z]*/__init__.py"))
