"""Two small apps to compare with: what a user would write, and the least that can answer.

`fastapi_app`: FastAPI, scikit-learn's own predict, the same lookup of features. `bare_app`:
Starlette and msgspec around the same evaluator, with the features given: no lookup, no log.
"""

import os
from pathlib import Path
from typing import Any


def fastapi_app() -> Any:
    import joblib
    import pandas as pd
    from fastapi import FastAPI

    import settings as configuration
    from features.online_reader import OnlineReader

    app, model = FastAPI(), joblib.load(os.environ["BENCH_MODEL"])
    settings = configuration.load_settings()
    reader, use_case = OnlineReader(settings), settings.use_case
    numbers = list(use_case.numbers)

    def predict(request: Any) -> dict[str, float]:
        [row] = reader.read([use_case.entity_row(request)], [use_case.decision_time(request)])
        frame = pd.DataFrame([row.values], columns=use_case.features)
        frame[numbers] = frame[numbers].astype("float64")
        return {"probability": float(model.predict_proba(frame)[0, 1])}

    predict.__annotations__["request"] = use_case.request()
    app.post("/predict")(predict)
    return app


def bare_app() -> Any:
    import msgspec
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from serving.models.evaluator import Evaluator

    folder = Path(os.environ["BENCH_SERVED"])
    evaluator = Evaluator.load(folder, os.environ["BENCH_DIGEST"])
    decode, encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode

    async def score(request: Request) -> Response:
        body = decode(await request.body())
        probability = float(evaluator.predict([body["features"]])[0])
        return Response(encode({"probability": probability}), media_type="application/json")

    return Starlette(routes=[Route("/score", score, methods=["POST"])])
