"""Which parts make the service, and who is given whom? The same in production and in tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from features.online_reader import OnlineReader
from serving.http.access import AccessControl
from serving.http.api import Api
from serving.http.explain import ExplanationHandler
from serving.http.feedback import FeedbackHandler
from serving.http.predict import PredictionHandlers
from serving.http.routes import route_table
from serving.http.status_pages import StatusPages
from serving.lookup import FeatureLookup
from serving.metrics import Metrics
from serving.models.holder import ModelHolder
from serving.prediction_log.writer import PredictionLog
from settings import Settings
from usecase.columns import FEATURES

#: The release document that `mlops bento` puts beside the code.
PACKAGED_RELEASE = Path(__file__).resolve().parents[1] / "packaged" / "release.json"


@dataclass(frozen=True)
class ServiceParts:
    """What runs, and what has to be closed."""

    api: Api
    models: ModelHolder
    log: PredictionLog
    predicting: PredictionHandlers

    def close(self) -> None:
        self.models.stop()
        self.log.close()


def wire_service(settings: Settings, metrics: Metrics) -> ServiceParts:
    """Raises `UserError` if it would be open to strangers."""
    access = AccessControl(settings)  # first: it may refuse
    log = PredictionLog(settings.predictions)
    models = ModelHolder(
        settings.followed_file,
        features=FEATURES,
        packaged=PACKAGED_RELEASE if PACKAGED_RELEASE.exists() else None,
        on_change=metrics.released,
    )
    lookup = FeatureLookup(OnlineReader(settings), metrics)
    predicting = PredictionHandlers(lookup, models, log, metrics)
    explaining = ExplanationHandler(lookup, predicting)
    feedback = FeedbackHandler(settings.predictions, metrics)
    routes = route_table(predicting, explaining, feedback, StatusPages(models, log, metrics))
    return ServiceParts(
        Api(routes, access, metrics, settings.requests_at_once), models, log, predicting
    )
