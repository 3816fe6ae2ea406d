"""A prediction log as the service writes it, for tests of rollout and experiments."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from pipelines.release import rollout_controller
from serving.prediction_log.writer import PredictionLog
from serving.release.document import assign_arm
from settings import Settings
from tests.released import served_release

START = datetime(2013, 4, 1, tzinfo=UTC)
DAYS = 5
ME = {"by": "me", "why": "it is right"}
Scores = Callable[[dict[str, Any]], float | None]
Cases = tuple[Settings, pd.DataFrame]  # a home to be copied, and its scored cases


def healthy_score(row: dict[str, Any]) -> float | None:
    return float(np.clip(row["score"] + 0.2 * row["noise"], 0, 1))


def worse_score(row: dict[str, Any]) -> float | None:
    return float(row["another"])


def failing_score(row: dict[str, Any]) -> float | None:
    return None if row["number"] % 10 == 0 else healthy_score(row)


def serve(
    settings: Settings, cases: Cases, days: int, says: Scores = healthy_score, skip: int = 0
) -> None:
    """Log the cases of these days as the service would under the current release."""
    current = served_release(settings)
    challenger = current.challenger
    since, until = START + timedelta(days=skip), START + timedelta(days=days)
    at = cases[1]["decision_time"]
    log = PredictionLog(settings.predictions)
    for row in cases[1][(at >= since) & (at < until)].to_dict("records"):
        routed, said = assign_arm(row["key"], current), says(row)
        mirrored = challenger is not None and challenger.stage == "shadow"
        answers = routed == "challenger" and said is not None
        model = challenger.model if challenger and answers else current.champion
        error = "RuntimeError: no" if said is None else None
        log.append({
            "request_id": f"{current.generation}-{row['key']}", "key": row["key"],
            "probability": said if answers else row["score"], "decision": False,
            "model_version": model.version, "model_digest": model.digest,
            "decision_time": row["decision_time"].to_pydatetime(),
            "features_as_of": row["decision_time"].to_pydatetime(),
            "logged_at": datetime.now(UTC), "request": {}, "features": {},
            "arm": routed, "generation": current.generation, "scoring_ms": 0.1,
            "shadow_version": challenger.model.version if challenger and mirrored else None,
            "shadow_probability": said if mirrored else None,
            "shadow_ms": 0.1 if mirrored else None, "shadow_error": error if mirrored else None,
            "challenger_version": challenger.model.version if challenger else None,
            "challenger_error": error if routed == "challenger" else None,
        })  # fmt: skip
    log.close()


def control(settings: Settings, day: float) -> dict[str, Any]:
    as_of = START + timedelta(days=day)
    return rollout_controller.control_rollout(settings, as_of, live=False, shadow_days=2)
