"""The service without one of its shortcuts, for `make bench-serving`.

BENCH_WITHOUT names the shortcut, one of `SHORTCUTS` in servers.py. It is undone before the
service's own module is imported.
"""

import gc
import os
from typing import Any


def undo(shortcut: str) -> None:
    if shortcut == "trees":
        _scikit_learn()
    elif shortcut == "walk":
        from treelite import gtil

        from serving.models.trees import Trees

        Trees.predict = lambda self, matrix: gtil.predict(  # type: ignore[method-assign]
            self.model, matrix, nthread=1
        ).reshape(-1)
    elif shortcut == "memory":
        from prometheus_client import values

        from serving import metrics

        shared = values.MultiProcessValue()
        metrics.keep_counts_in_memory = lambda: setattr(values, "ValueClass", shared)
    elif shortcut == "middleware":
        import bentoml

        plain = bentoml.service
        bentoml.service = lambda **_: plain(workers=1)
    elif shortcut == "freeze":
        gc.freeze = lambda: None  # type: ignore[assignment]


def _scikit_learn() -> None:
    import joblib
    import pandas as pd

    from serving.models.evaluator import Evaluator

    model = joblib.load(os.environ["BENCH_MODEL"])
    columns = list(model.feature_names_in_)

    def predict(self: Evaluator, rows: Any) -> Any:
        frame = pd.DataFrame(rows, columns=columns)
        numbers = [name for name in columns if name not in self.codes]
        frame[numbers] = frame[numbers].astype("float64")
        return model.predict_proba(frame)[:, 1]

    Evaluator.predict = predict  # type: ignore[method-assign]


undo(os.environ["BENCH_WITHOUT"])

from serving.service import Predictor  # noqa: E402

if os.environ["BENCH_WITHOUT"] == "middleware":
    from uvicorn import config

    from serving.http.connections import BoundedProtocol

    class AfterMiddlewares:
        def __init__(self, app: Any) -> None:
            self._app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            app = BoundedProtocol.api if scope["type"] == "http" else self._app
            await app(scope, receive, send)

    config.HTTP_PROTOCOLS["auto"] = "uvicorn.protocols.http.auto:AutoHTTPProtocol"
    Predictor.add_asgi_middleware(AfterMiddlewares)  # type: ignore[attr-defined]
