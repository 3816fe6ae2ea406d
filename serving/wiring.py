"""Builds the parts of the service, the same way in production and in tests."""

from dataclasses import dataclass
from pathlib import Path

from features.online_reader import OnlineReader
from serving.lookup import FeatureLookup
from serving.metrics import Metrics
from serving.models.holder import ModelHolder
from serving.prediction_log.writer import PredictionLog
from settings import Settings

#: The release document that `mlops bento` puts next to the code.
PACKAGED_RELEASE = Path(__file__).resolve().parents[1] / "packaged" / "release.json"


@dataclass(frozen=True)
class ServiceParts:
    """What the handlers of the routes use. Call `close` at the end of the service."""

    settings: Settings
    metrics: Metrics
    log: PredictionLog
    models: ModelHolder
    lookup: FeatureLookup

    def close(self) -> None:
        self.models.stop()
        self.log.close()


def wire_service(settings: Settings, metrics: Metrics) -> ServiceParts:
    """Open the prediction log, load the release and connect to the online store."""
    log = PredictionLog(settings.predictions)
    models = ModelHolder(
        settings,
        features=settings.use_case.features,
        packaged=PACKAGED_RELEASE if PACKAGED_RELEASE.exists() else None,
        on_change=metrics.record_release,
    )
    return ServiceParts(
        settings, metrics, log, models, FeatureLookup(OnlineReader(settings), metrics)
    )
