"""Which parts make the service, and who is given whom? The same in production and in tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from features.online_reader import OnlineReader
from serving.http.access import Access
from serving.http.api import Api
from serving.http.explain import Explaining
from serving.http.feedback import Feedback
from serving.http.predict import Predicting
from serving.http.routes import table
from serving.http.status_pages import Pages
from serving.lookup import Lookup
from serving.metrics import Metrics
from serving.models.holder import ModelHolder
from serving.prediction_log.writer import PredictionLog
from settings import Settings
from usecase.columns import FEATURES

#: The release document that `mlops bento` puts beside the code.
PACKAGED = Path(__file__).resolve().parents[1] / "packaged" / "release.json"


@dataclass(frozen=True)
class Parts:
    """What runs, and what has to be closed."""

    api: Api
    models: ModelHolder
    log: PredictionLog
    predicting: Predicting

    def close(self) -> None:
        self.models.stop()
        self.log.close()


def wire(settings: Settings, metrics: Metrics) -> Parts:
    """Raises `UserError` if it would be open to strangers."""
    access = Access(settings)  # first: it may refuse
    log = PredictionLog(settings.predictions)
    models = ModelHolder(
        settings.followed_file, features=FEATURES, packaged=PACKAGED if PACKAGED.exists() else None,
        on_change=metrics.released,
    )  # fmt: skip
    lookup = Lookup(OnlineReader(settings), metrics)
    predicting = Predicting(lookup, models, log, metrics)
    explaining = Explaining(lookup, predicting)
    feedback = Feedback(settings.predictions, metrics)
    routes = table(predicting, explaining, feedback, Pages(models, log, metrics))
    return Parts(Api(routes, access, metrics, settings.requests_at_once), models, log, predicting)
