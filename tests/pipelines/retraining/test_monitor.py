"""Monitoring of a home with a prediction log, labels and a champion, and its decisions."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from features import partitions
from features.statements import newest
from features.validated_cases import read_labels
from monitoring import observation
from monitoring.measures import performance
from monitoring.measures import scores as evaluation
from monitoring.retraining_triggers import MonitoringEvidence
from pipelines.operations import loop_metrics, metric_samples
from pipelines.retraining import monitor
from pipelines.runtime import clock
from serving.models.evaluator import export_model
from serving.prediction_log import decisions, reader
from serving.prediction_log.writer import PredictionLog
from serving.release import document
from settings import LoopError, Settings, UserError
from tests.remedied import run_remedy
from tests.serving.in_process import small_trees
from tests.serving.service_process import Service
from tests.slice_params import shipped_params
from tests.use_case import CATEGORIES, FEATURES, USE_CASE

ROOT = Path(__file__).parents[3]
DATA_UNTIL = datetime(2013, 4, 1, tzinfo=UTC)
AS_OF = datetime(2013, 4, 5, tzinfo=UTC)
CHAMPION = "7"
Change = Callable[[dict[str, Any]], dict[str, Any] | None]


def cases(seed: int) -> pd.DataFrame:
    """Return cases decided from the champion's training to `AS_OF`, with random features."""
    rng = np.random.default_rng(seed)
    days = partitions.day_range(DATA_UNTIL.date() - timedelta(days=1), AS_OF.date())
    spine = USE_CASE.spine(pd.concat([USE_CASE.fetch(USE_CASE.spine_feed, day) for day in days]))
    inside = (spine["decision_time"] >= DATA_UNTIL) & (spine["decision_time"] < AS_OF)
    frame = spine.loc[inside, ["key", "decision_time"]].sort_values("decision_time")
    frame = frame.reset_index(drop=True)
    for name in FEATURES:
        drawn = rng.choice(list("abcd"), len(frame)) if name in CATEGORIES else None
        frame[name] = rng.normal(size=len(frame)) if drawn is None else drawn
    return frame.assign(probability=rng.beta(2, 5, len(frame)))


def log_predictions(settings: Settings, rows: pd.DataFrame, change: Change | None = None) -> None:
    """Log a prediction for each row, as the service does; `change` may alter or drop a record."""
    log = PredictionLog(settings.predictions)
    for row in rows.to_dict("records"):
        at = row["decision_time"].to_pydatetime()
        record: dict[str, Any] | None = {
            "prediction_id": f"{len(list(log.path.parent.iterdir()))}-{row['key']}",
            "request_id": row["key"][:64], "client": "predict", "route": "/predict",
            "asked_at": at, "published_until": at,
            "key": row["key"], "probability": row["probability"],
            "decision": row["probability"] >= 0.2, "model_version": CHAMPION,
            "model_digest": "0" * 64, "decision_time": at, "features_as_of": at,
            "logged_at": datetime.now(UTC), "request": {"id": row["key"]},
            "features": {name: row[name] for name in FEATURES},
        }  # fmt: skip
        record = change(record) if change and record else record
        if record:
            log.append(record)
    log.close()


def crown(settings: Settings, version: str, data_until: datetime) -> None:
    """Release a champion with its card and reference."""
    rows = cases(seed=1)
    label = (np.random.default_rng(2).random(len(rows)) < rows["probability"]).astype("int8")
    folder = settings.state / "models" / version
    folder.mkdir(parents=True)
    rows.assign(label=label).to_parquet(folder / "reference.parquet", index=False)
    expected = evaluation.metrics(label, rows["probability"], settings.params()["costs"])
    card = {"version": version, "data_until": data_until.isoformat(), "evaluation": expected}
    (folder / "card.json").write_text(json.dumps(card))
    served = document.ServedModel(version, "0" * 64, f"../models/{version}/served", 0.2)
    document.write_release(settings, document.Release(1, served, datetime.now(UTC)))


@pytest.fixture(scope="session")
def template_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a champion and labels, and no prediction yet."""
    settings = Settings(home=tmp_path_factory.mktemp("template"))
    settings.params_file.parent.mkdir(parents=True)
    params = shipped_params()
    params["monitoring"]["policy"] |= {"every_days": 4, "cool_down_days": 2, "min_labelled": 500}
    params["monitoring"]["drift"]["max_rows"] = 1000
    params["gates"]["min_days"] = 2  # as few as four days between trainings allow
    params["rollout"]["shadow"]["days"] = 3
    settings.params_file.write_text(yaml.safe_dump(params))
    for day in partitions.day_range(DATA_UNTIL.date(), AS_OF.date() + timedelta(days=1)):
        rows = USE_CASE.fetch(USE_CASE.label_feed, day)
        path = partitions.partition_path(settings.data, "validated", USE_CASE.label_feed, day)
        partitions.write_partition(rows, path)
    crown(settings, CHAMPION, DATA_UNTIL)
    return settings.home


@pytest.fixture
def settings(template_home: Path, tmp_path: Path) -> Settings:
    """A copy of the template home, without pages."""
    shutil.copytree(template_home, tmp_path / "home")
    return Settings(home=tmp_path / "home", pages=False)


def write_refused_training(settings: Settings, as_of: datetime) -> None:
    """Write the outcome of a training that the gates refused."""
    folder = settings.state / "training" / "refused"
    folder.mkdir(parents=True)
    outcome = {"as_of": as_of.isoformat(), "concluded_at": as_of.isoformat(), "version": None}
    (folder / "outcome.json").write_text(json.dumps(outcome))


def files(settings: Settings) -> dict[str, int]:
    """Return each file that monitoring writes, with its time of writing."""
    folders = ("monitoring", "reports", "evidently")
    paths = [path for folder in folders for path in (settings.state / folder).rglob("*.*")]
    return {
        str(path.relative_to(settings.state)): path.stat().st_mtime_ns
        for path in paths
        if path.is_file()
    }


def test_a_time_is_measured_once_and_its_result_kept(settings: Settings) -> None:
    settings = settings.model_copy(update={"pages": True})
    log_predictions(settings, cases(seed=3))
    result = monitor.monitor_champion(settings, AS_OF)
    assert result["problems"] == []
    assert result["retrain"]
    assert "ended 4 days ago" in result["reason"]
    assert result["champion"] == CHAMPION
    assert result["as_of"] == AS_OF.isoformat()
    # The newest cases have no label yet, and later rows of the feed are not read.
    assert 0.9 < result["live"]["coverage"] < 1
    assert result["drift"]["share"] == 0
    assert not result["drift"]["prediction"]["drifted"]
    least = settings.params()["monitoring"]["min_slice"]
    for kind in {row["slice"] for row in result["slices"]}:
        sizes = [(row["n"], row["enough"]) for row in result["slices"] if row["slice"] == kind]
        assert sum(size for size, _ in sizes) == result["live"]["n"]
        assert [enough for _, enough in sizes] == [size >= least for size, _ in sizes]
    assert result["label_coverage"] > result["live"]["coverage"]
    measured = {
        (sample.name, *sample.labels.values()): sample.value
        for sample in loop_metrics.monitoring_samples(settings)
    }
    assert measured["trigger_limit", "slices"] == 0.08
    assert measured["cost_per_1000", "estimated"] == result["estimated"] > 0
    assert measured["label_coverage",] == result["label_coverage"]
    assert measured["bias", "low"] < measured["bias", "mean"] < measured["bias", "high"]
    assert measured["saving", "high"] == result["live"]["saving_high"]
    assert 0 < measured["label_delay_hours",] < 12
    judged = [row for row in result["slices"] if row["enough"]]
    assert len(judged) >= 10
    for row in judged:
        assert measured["slice_bias", row["slice"], row["value"], "high"] == row["bias_high"]
    assert {key[0] for key in measured} <= set(metric_samples.LOOP_METRIC_HELP)
    before = files(settings)
    assert {"reports/drift-2013-04-05.html", "reports/monitoring-2013-04-05.html"} < set(before)
    assert [name for name in before if name.startswith("monitoring")] == [
        "monitoring/20130405T0000.json"
    ]
    assert monitor.monitor_champion(settings, AS_OF) == result
    assert files(settings) == before
    assert monitor.latest_result(settings) == result


def test_scores_and_late_requests_do_not_change_what_is_measured(settings: Settings) -> None:
    """A client scores invented features under real keys first, and asks after the event."""
    known = newest(read_labels(settings, DATA_UNTIL.date(), AS_OF.date()), ["key"])
    rows = cases(seed=3).merge(known[["key", "label"]], how="left", on="key")
    rows["probability"] = (0.4 * rows["probability"] + 0.4 * rows["label"].fillna(0)).round(3)
    digest = export_model(small_trees(), settings.state / "models" / CHAMPION / "served")
    served = document.ServedModel(CHAMPION, digest, f"../models/{CHAMPION}/served", 0.2)
    document.write_release(settings, document.Release(2, served, datetime.now(UTC)))
    clock.advance_to(settings, AS_OF)
    requests = payloads(rows["key"])
    asked_late = rows["key"][rows["decision_time"] < AS_OF - timedelta(hours=6)].iloc[-20:]
    asked_now = rows["key"].iloc[-1]
    decided = rows[~rows["key"].isin([*asked_late, asked_now])]
    service = Service(settings.home)
    try:
        service.wait("/readyz", lambda response: response.status_code == 200)
        rng = np.random.default_rng(4)
        for row in decided.iloc[:400].to_dict("records"):
            features = {name: "a" if name in CATEGORIES else rng.normal() for name in FEATURES}
            body = {"key": row["key"], "decision_time": row["decision_time"].isoformat(),
                    "features": features}  # fmt: skip
            assert service.client.post("/score", json=body).status_code == 200
        for key in (*asked_late, asked_now):
            assert service.predict(requests[key]).status_code == 200
    finally:
        service.stop()
    log_predictions(settings, decided)

    result = monitor.monitor_champion(settings, AS_OF)
    assert result["n_predictions"] == len(decided) + 1
    joined = performance.join_labels(
        decided.drop(columns="label").assign(logged_at=decided["decision_time"]),
        known,
        AS_OF,
        horizon=timedelta(0),
    )
    expected = performance.live_metrics(joined, settings.params()["costs"], 0)
    assert result["live"]["auc"] == pytest.approx(expected["auc"], abs=0.001)
    assert expected["auc"] > 0.9
    assert result["uncounted"] == {"route": 400, "late": 20}
    assert result["uncounted_share"] == pytest.approx(420 / (len(rows) + 400))
    measured = {
        (sample.name, *sample.labels.values()): sample.value
        for sample in loop_metrics.monitoring_samples(settings)
    }
    assert measured["predictions_uncounted", "route"] == 400
    assert measured["uncounted_share",] > measured["uncounted_share_limit",] > 0
    log = decisions.read_decisions(settings)
    assert set(log["key"]) == {*decided["key"], asked_now}


def payloads(keys: pd.Series) -> dict[str, dict[str, Any]]:
    """Return the requests of these cases."""
    days = partitions.day_range(DATA_UNTIL.date() - timedelta(days=1), AS_OF.date())
    spine = USE_CASE.spine(pd.concat([USE_CASE.fetch(USE_CASE.spine_feed, day) for day in days]))
    rows = spine[spine["key"].isin(keys)].to_dict("records")
    return {row["key"]: USE_CASE.payload(row) for row in rows}


def test_every_days_can_be_replaced_for_one_call(settings: Settings) -> None:
    log_predictions(settings, cases(seed=3)[::4])
    result = monitor.monitor_champion(settings, AS_OF - timedelta(days=1), every_days=3)
    assert result["retrain"]
    assert "ended 3 days ago (limit 3)" in result["reason"]
    assert not monitor.monitor_champion(settings, AS_OF, every_days=5)["retrain"]
    assert settings.params()["monitoring"]["policy"]["every_days"] == 4


def test_predictions_of_other_versions_are_left_out(settings: Settings) -> None:
    rows = cases(seed=3)
    own = set(rows["key"][::2])

    def other(record: dict[str, Any]) -> dict[str, Any]:
        if record["key"] in own:
            return record
        return record | {"model_version": "6", "probability": 1.0}

    log_predictions(settings, rows, other)
    log = reader.read_predictions(USE_CASE, settings.predictions)
    result = monitor.label_decisions(settings, log, CHAMPION, DATA_UNTIL, AS_OF)
    assert set(result["key"]) == own
    assert result["probability"].max() < 1


def test_a_feature_missing_from_the_log_is_an_alarm_until_it_returns(settings: Settings) -> None:
    rows, lost = cases(seed=3), FEATURES[-1]
    log_predictions(
        settings, rows[::2],
        lambda record: record | {"features": record["features"] | {lost: None}},
    )  # fmt: skip
    result = monitor.monitor_champion(settings, AS_OF)
    assert list(result["drift"]["unmeasured"]) == [lost]
    assert set(result["drift"]["features"]) == set(FEATURES) - {lost}
    assert result["drift"]["share"] == pytest.approx(1 / len(FEATURES)), "missing counts as drifted"
    assert result["live"] is not None
    assert [each["code"] for each in result["problems"]] == ["feature_unmeasured"]
    assert result["codes"][0] == "feature_unmeasured"
    assert result["reason"].startswith("ALARM")
    assert lost in result["reason"].split(";")[0]
    samples = {(each.name, *each.labels.values()): each.value for each in
               loop_metrics.monitoring_samples(settings)}  # fmt: skip
    assert samples["monitoring_problems",] == 1
    assert samples["monitoring_decision", "feature_unmeasured"] == result["retrain"]
    [stored] = (settings.state / "monitoring").glob("*.json")
    older = {name: value for name, value in result.items() if name != "codes"}
    stored.write_text(json.dumps(older | {"problems": ["drift (in words alone)"]}))
    counted = {each.name: each.value for each in loop_metrics.monitoring_samples(settings)}
    assert counted["monitoring_problems"] == 1, "result of an older version"
    log_predictions(settings, rows[1::2])
    repaired = monitor.monitor_champion(settings, AS_OF)
    assert repaired["problems"] == []
    assert repaired["n_predictions"] == len(rows)
    assert repaired["drift"]["missing_change"] == pytest.approx(0.5, abs=0.05)


def test_a_measure_that_fails_is_a_problem_and_the_others_are_measured(settings: Settings) -> None:
    rows = cases(seed=3)[::4]
    log_predictions(
        settings, rows, lambda each: each | {"features": each["features"] | {"hour": "at noon"}}
    )
    result = monitor.monitor_champion(settings, AS_OF)
    assert [each["code"] for each in result["problems"]] == [
        "slices_unmeasured",
        "drift_unmeasured",
    ]
    assert result["reason"].startswith("ALARM, a check could not run: slices (TypeError: ")
    assert result["live"] is not None
    assert (result["slices"], result["drift"]) == ([], None)
    judged = {each["name"]: each["value"] for each in result["triggers"]}
    assert [judged[name] for name in ("slices", "labels", "drift", "missing")] == [None] * 4


def test_a_damaged_card_of_the_champion_is_named_with_its_remedy(settings: Settings) -> None:
    (settings.state / "models" / CHAMPION / "card.json").write_text('{"version": "1", "data_')
    with pytest.raises(
        LoopError, match=r"card\.json is missing or damaged.+`mlops repair`"
    ) as found:
        monitor.monitor_champion(settings, AS_OF)
    assert found.value.code == "model_damaged"


@pytest.mark.parametrize("error", [KeyError("2 frames"), RuntimeError("2 frames")], ids=repr)
def test_a_report_that_fails_is_a_problem_and_the_drift_is_measured(
    settings: Settings, error: Exception
) -> None:
    folder = settings.state / "models" / CHAMPION
    reference, params = pd.read_parquet(folder / "reference.parquet"), settings.params()
    expected = json.loads((folder / "card.json").read_text())["evaluation"]
    joined = reference.assign(known_at=reference["decision_time"] + timedelta(hours=5))

    def fail(samples: list[pd.DataFrame]) -> None:
        assert len(samples) == 2
        raise error

    result = observation.observe_production(
        USE_CASE, MonitoringEvidence(CHAMPION, DATA_UNTIL, expected), joined, joined[FEATURES],
        reference, params, params["monitoring"]["policy"], AS_OF, fail,
    )  # fmt: skip
    [problem] = result["problems"]
    assert problem["code"] == result["codes"][0] == "drift_report_unmeasured"
    assert f"drift report ({type(error).__name__}: {error})" in result["reason"]
    assert result["drift"]["share"] == 0


def test_a_misspelt_policy_is_refused_before_anything_is_measured(settings: Settings) -> None:
    log_predictions(settings, cases(seed=3)[::4])
    params = settings.params()
    params["monitoring"]["policy"]["min_labeled"] = 1
    settings.params_file.write_text(yaml.safe_dump(params))
    with pytest.raises(UserError, match=r"policy\.min_labeled: no parameter has this name"):
        monitor.monitor_champion(settings, AS_OF)


def test_labels_that_stopped_coming_are_an_alarm(settings: Settings) -> None:
    log_predictions(settings, cases(seed=3)[::4])
    stopped = AS_OF.date() - timedelta(days=2)
    for day in partitions.partition_days(settings.data, "validated", USE_CASE.label_feed):
        if day >= stopped:
            partitions.partition_path(settings.data, "validated", USE_CASE.label_feed, day).unlink()
    result = monitor.monitor_champion(settings, AS_OF)
    assert result["codes"][0] == "coverage_low"
    assert result["reason"].startswith("ALARM")
    assert result["live"]["coverage"] < 0.6


def test_a_recent_training_holds_back_and_the_result_outlives_the_champion(
    settings: Settings,
) -> None:
    log_predictions(settings, cases(seed=3)[::4])
    write_refused_training(settings, AS_OF - timedelta(days=1))
    stored = monitor.monitor_champion(settings, AS_OF)
    crown(settings, "8", AS_OF)
    assert monitor.monitor_champion(settings, AS_OF) == stored
    assert not stored["retrain"]
    assert stored["codes"] == ["cooldown", "schedule_due"]
    with pytest.raises(UserError, match="Version 8 was trained on data up to 2013-04-05"):
        monitor.monitor_champion(settings, AS_OF - timedelta(hours=1))
    with pytest.raises(LoopError, match="No prediction by version 8"):
        monitor.monitor_champion(settings, AS_OF + timedelta(days=1))


@pytest.mark.parametrize("stage", ["shadow", "experiment"])
def test_a_shadow_holds_a_retraining_back_and_an_experiment_does_not(
    settings: Settings, stage: document.Stage
) -> None:
    log_predictions(settings, cases(seed=3)[::4])
    current = document.read_release(settings)
    assert current is not None
    percent = 0.0 if stage == "shadow" else 50.0
    model = document.ServedModel(
        "8", "1" * 64, str(settings.state / "models" / "8" / "served"), 0.2
    )
    challenger = document.Challenger(model, stage, percent, datetime.now(UTC), "a plan")
    document.write_release(settings, replace(current, challenger=challenger))
    result = monitor.monitor_champion(settings, AS_OF)
    assert result["retrain"] == (stage == "experiment")
    assert ("under_way" in result["codes"]) == (stage == "shadow")
    assert [name for name in files(settings) if not name.startswith("monitoring")] == []


def test_errors_without_predictions_or_a_model_name_the_next_command(settings: Settings) -> None:
    assert monitor.latest_result(settings) is None
    with pytest.raises(LoopError, match=r"No prediction by version 7 .* `mlops run`"):
        monitor.monitor_champion(settings, AS_OF)
    settings.release_file.unlink()
    with pytest.raises(LoopError, match=r"no model to monitor\. Run `mlops run`"):
        monitor.monitor_champion(settings, AS_OF)
    assert files(settings) == {}


def test_slices_of_an_empty_feature_are_named_and_the_others_measured(settings: Settings) -> None:
    absent, empty = CATEGORIES[:2]

    def without(record: dict[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in record["features"].items() if name != absent}
        return record | {"features": kept | {empty: None}}

    settings = settings.model_copy(update={"pages": True})
    log_predictions(settings, cases(seed=3), without)
    result = monitor.monitor_champion(settings, AS_OF)
    kinds = {row["slice"] for row in result["slices"]}
    codes = {each["code"]: each["told"] for each in result["problems"]}
    assert set(codes) == {"slices_unmeasured", "feature_unmeasured"}
    left_out = set(USE_CASE.slices(cases(seed=3))) - kinds
    assert kinds
    assert left_out
    assert all(kind in codes["slices_unmeasured"] for kind in left_out)
    assert set(result["drift"]["unmeasured"]) == {absent, empty}
    assert result["drift"]["features"]
    page = (settings.state / "reports" / f"monitoring-{AS_OF:%Y-%m-%d}.html").read_text()
    assert f"{absent} (no value" in page
    assert (settings.state / "reports" / f"drift-{AS_OF:%Y-%m-%d}.html").exists()


@pytest.mark.long
def test_missing_labels_and_a_missing_result_are_mended_by_their_remedies(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mlops ingest` fetches the labels; the next result has them."""
    params = settings.params() | {"as_of": AS_OF.isoformat(), "first_day": "2013-03-31"}
    params["monitoring"]["policy"]["min_labelled"] = 2000
    settings.params_file.write_text(yaml.safe_dump(params))
    monkeypatch.setenv("MLOPS_HOME", str(settings.home))
    monkeypatch.setenv("MLOPS_PAGES", "false")
    log_predictions(settings, cases(seed=3))
    for day in partitions.partition_days(settings.data, "validated", USE_CASE.label_feed)[1:]:
        partitions.partition_path(settings.data, "validated", USE_CASE.label_feed, day).unlink()

    assert monitor.latest_result(settings) is None
    run_remedy("monitoring_stale", settings.home)
    without = monitor.latest_result(settings)
    assert without is not None
    assert {"coverage_low", "labels_few"} <= set(without["codes"])

    run_remedy("coverage_low", settings.home)
    run_remedy("check_not_run", settings.home)  # measures again what had problems
    result = monitor.latest_result(settings)
    assert result is not None
    assert result["problems"] == []
    assert not {"coverage_low", "labels_few"} & set(result["codes"])
    assert result["label_coverage"] > 0.9
