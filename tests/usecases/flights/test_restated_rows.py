"""Restated rows in training, monitoring and traffic, and answers whose rows were replaced."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import yaml

from features import partitions
from features.point_in_time import training_frame
from features.validated_cases import read_labels
from monitoring.measures import performance
from pipelines.ingestion import ingest, validate
from pipelines.release.audit import prediction_lineage
from pipelines.replay.replay_world import home_environment
from pipelines.runtime import traffic
from pipelines.training import assemble, build_features
from pipelines.training.training_files import TrainingFiles
from serving.models.evaluator import Evaluator
from serving.prediction_log import writer
from settings import Settings
from tests import released as registries
from tests import slice_params
from tests.use_case import USE_CASE
from usecases.flights.columns import KEY
from usecases.flights.request import payload
from usecases.flights.target import disrupted, key

END = datetime(2013, 1, 8, tzinfo=UTC)
RESTATED = date(2013, 1, 5)  # the day on which earlier outcomes are restated
CHANGED = date(2013, 1, 6)  # the day on which flights get another plane


def corrected_rows() -> pd.DataFrame:
    """Return corrections, known on the fifth, of late outcomes known on the third."""
    rows = USE_CASE.fetch(USE_CASE.label_feed, date(2013, 1, 3))
    rows = rows[rows["arr_delay"].between(15, 60)][:40]
    known = rows["known_at"] + timedelta(days=2)
    # By an hour, which keeps the minute of arrival.
    return rows.assign(arr_delay=rows["arr_delay"] - 60, known_at=known)


def unchanged_rows() -> pd.DataFrame:
    rows = USE_CASE.fetch(USE_CASE.label_feed, date(2013, 1, 4))[:40]
    return rows.assign(known_at=rows["known_at"] + timedelta(days=1))


def changed_planes() -> pd.DataFrame:
    rows = USE_CASE.fetch(USE_CASE.spine_feed, CHANGED - timedelta(days=1))
    rows = rows[rows["sched_dep"] >= pd.Timestamp(CHANGED, tz="UTC") + timedelta(hours=20)][:40]
    known = pd.Timestamp(CHANGED, tz="UTC") + timedelta(hours=5)
    return rows.assign(tailnum="N1ANEW", known_at=known.as_unit("us"))


def fetch(feed: str, day: date) -> pd.DataFrame:
    rows, more = USE_CASE.fetch(feed, day), []
    if (feed, day) == (USE_CASE.label_feed, RESTATED):
        more = [corrected_rows(), unchanged_rows()]
    elif (feed, day) == (USE_CASE.spine_feed, CHANGED):
        more = [changed_planes()]
    return pd.concat([rows, *more], ignore_index=True)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Create a home with a week of ingested rows, some restated, and three versions."""
    settings = registries.make_registry(tmp_path_factory.mktemp("restated") / "home")
    params = slice_params.slice_params()
    params["training"]["holdout_days"] = 2
    settings.params_file.write_text(yaml.safe_dump(params))
    with home_environment(settings):
        ingest.fetch_due_batches(settings, END, fetch)
        summary = validate.validate_new_batches(settings, END)
        assert {each["quarantined"] for each in summary.values()} == {0}
        build_features.build_feature_tables(settings, END)
        yield settings


def test_training_uses_the_newest_known_label(world: Settings) -> None:
    corrected = set(key(corrected_rows()))
    for as_of, label in ((datetime(2013, 1, 5, tzinfo=UTC), 1), (END, 0)):
        assemble.assemble_training_set(world, as_of)
        frame = TrainingFiles(world.root, world.use_case).frame
        assert frame["key"].is_unique
        some = frame[frame["key"].isin(corrected)]
        assert len(some) == len(corrected) > 10
        assert set(some["label"]) == {label}
    repeated = frame.set_index("key").loc[key(unchanged_rows())]
    assert list(repeated["label"]) == list(disrupted(unchanged_rows()).astype(int))


def test_monitoring_and_rollout_use_the_newest_known_label(world: Settings) -> None:
    keys = list(key(corrected_rows()))
    at = pd.Timestamp(2013, 1, 3, tzinfo=UTC)
    log = pd.DataFrame({"key": keys, "logged_at": at, "decision_time": at})
    for as_of, label in ((datetime(2013, 1, 5, tzinfo=UTC), 1.0), (END, 0.0)):
        known = read_labels(world, date(2013, 1, 2), as_of.date())
        joined = performance.join_labels(log, known, as_of, horizon=timedelta(0))
        assert set(joined["label"]) == {label}
        assert len(joined) == len(keys)
    since = datetime(2013, 1, 4, tzinfo=UTC)
    rows = partitions.read_days(
        world.data, "validated", USE_CASE.label_feed, since.date(), END.date()
    )
    assert (
        performance.count_new_labels(read_labels(world, since.date(), END.date()), since, END)
        == rows[KEY].drop_duplicates().shape[0]
        < len(rows)
    )


def test_a_case_is_requested_once_with_its_newest_schedule(world: Settings) -> None:
    start = datetime(2013, 1, 6, tzinfo=UTC)
    cases = traffic.cases_between(world, start, start + timedelta(days=2)).set_index("key")
    assert cases.index.is_unique
    changed = cases.loc[key(changed_planes()), "tailnum"]
    assert len(changed) > 10
    assert set(changed) == {"N1ANEW"}


def test_an_answer_is_reproduced_after_its_rows_were_replaced(world: Settings) -> None:
    model = Evaluator.load(world.home / "made" / "1" / "served", digest := first_digest(world))
    case = traffic.cases_between(
        world, datetime(2013, 1, 6, 18, tzinfo=UTC), datetime(2013, 1, 6, 19, tzinfo=UTC)
    )[:1]
    seen = {
        name: None if value != value else value
        for name, value in training_frame(world, case).iloc[0].items()
        if name not in ("key", "decision_time")
    }
    features = {**seen, "a": 0.1 + 0.2, "b": None}
    case_row = case.iloc[0].to_dict()
    record = {
        "key": case_row["key"], "model_version": "1", "model_digest": digest, "arm": "champion",
        "generation": 1, "decision": True, "decision_time": case_row["decision_time"],
        "features_as_of": None, "logged_at": datetime.now(UTC), "request": payload(case_row),
        "features": features,
    }  # fmt: skip
    probability = float(model.predict([features])[0])
    log = writer.PredictionLog(world.predictions)
    log.append({**record, "request_id": "asked", "probability": probability})
    log.append({**record, "request_id": "forged", "probability": probability + 1e-12})
    log.close()
    recomputed = {"reproduced": "yes", "recorded": probability, "computed": probability}
    today = "Feature tables today"

    lineage = prediction_lineage.explain_prediction(world, "asked")
    assert lineage["Recomputed"] == recomputed
    assert lineage[today] == {"features": "the tables give the logged features today, too"}
    assert (
        prediction_lineage.explain_prediction(world, "forged")["Recomputed"]["reproduced"] == "no"
    )

    place = partitions.partition_path(
        world.data, "validated", USE_CASE.label_feed, date(2013, 1, 6)
    )
    rows = pd.read_parquet(place)
    partitions.write_partition(
        rows.assign(arr_delay=np.minimum(rows["arr_delay"] + 60, 600)), place
    )
    build_features.build_feature_tables(world, END)

    lineage = prediction_lineage.explain_prediction(world, "asked")
    assert lineage["Recomputed"] == recomputed
    assert "differ today: the tables' rows were replaced" in lineage[today]["features"]
    assert len(lineage[today]) > 1


def first_digest(settings: Settings) -> str:
    """Return the digest of version 1."""
    from pipelines.training import mlflow_tracking

    return str(
        mlflow_tracking.mlflow_client(settings).get_model_version(USE_CASE.name, "1").tags["digest"]
    )
