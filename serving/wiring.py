"""Builds the service from its parts, the same way in production and in tests."""

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

#: The release document that `mlops bento` puts next to the code.
PACKAGED_RELEASE = Path(__file__).resolve().parents[1] / "packaged" / "release.json"


@dataclass(frozen=True)
class ServiceParts:
    """The parts of a running service. Call `close` at its end."""

    api: Api
    models: ModelHolder
    log: PredictionLog
    predictions: PredictionHandlers

    def close(self) -> None:
        self.models.stop()
        self.log.close()


def wire_service(settings: Settings, metrics: Metrics) -> ServiceParts:
    """Build the service. Raises `UserError` if it would be reachable by others without tokens."""
    access = AccessControl(settings)  # first, since it may raise
    log = PredictionLog(settings.predictions)
    models = ModelHolder(
        settings.followed_file,
        features=FEATURES,
        packaged=PACKAGED_RELEASE if PACKAGED_RELEASE.exists() else None,
        on_change=metrics.record_release,
    )
    lookup = FeatureLookup(OnlineReader(settings), metrics)
    predictions = PredictionHandlers(lookup, models, log, metrics)
    explanations = ExplanationHandler(lookup, predictions)
    feedback = FeedbackHandler(settings.predictions, metrics)
    routes = route_table(predictions, explanations, feedback, StatusPages(models, log, metrics))
    api = Api(routes, access, metrics, settings.requests_at_once)
    return ServiceParts(api, models, log, predictions)
