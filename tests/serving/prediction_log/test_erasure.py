"""Erasure removes exactly the selected predictions, for good."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from serving.prediction_log import erasure
from serving.prediction_log.reader import read_predictions
from serving.prediction_log.writer import PredictionLog
from settings import UserError
from tests.use_case import USE_CASE


def write_log(folder: Path) -> None:
    log = PredictionLog(folder)
    log.append(
        *[
            {
                "request_id": f"r{day}", "key": f"case-{day % 2}", "probability": 0.5,
                "decision": True, "model_version": "1", "model_digest": "0",
                "decision_time": datetime(2013, 1, day, tzinfo=UTC), "features_as_of": None,
                "logged_at": datetime(2013, 1, day, tzinfo=UTC), "request": {"who": f"w{day}"},
            }
            for day in range(1, 7)
        ]
    )  # fmt: skip
    log.close()


def test_predictions_before_a_time_are_erased_for_good(tmp_path: Path) -> None:
    write_log(tmp_path)
    done = erasure.expire_predictions(USE_CASE, tmp_path, datetime(2013, 1, 4, tzinfo=UTC))
    assert done == {"removed": 3, "open": 0}
    assert sorted(read_predictions(USE_CASE, tmp_path)["request_id"]) == ["r4", "r5", "r6"]
    assert (
        erasure.expire_predictions(USE_CASE, tmp_path, datetime(2013, 1, 4, tzinfo=UTC))["removed"]
        == 0
    )


def test_one_entitys_rows_are_erased_and_an_unknown_column_is_refused(tmp_path: Path) -> None:
    write_log(tmp_path)
    assert erasure.forget_predictions(USE_CASE, tmp_path, "request.who", "w2") == {
        "removed": 1,
        "open": 0,
    }
    assert erasure.forget_predictions(USE_CASE, tmp_path, "key", "case-1")["removed"] == 3
    assert sorted(read_predictions(USE_CASE, tmp_path)["request_id"]) == ["r4", "r6"]
    with pytest.raises(UserError, match="has a column"):
        erasure.forget_predictions(USE_CASE, tmp_path, "request.nobody", "x")


def test_open_segments_stay_and_are_counted(tmp_path: Path) -> None:
    write_log(tmp_path)
    log = PredictionLog(tmp_path)
    try:
        assert erasure.expire_predictions(USE_CASE, tmp_path, datetime(2014, 1, 1, tzinfo=UTC)) == {
            "removed": 6, "open": 1,
        }  # fmt: skip
    finally:
        log.close()
