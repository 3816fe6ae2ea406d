"""What production shows as of a moment, and the decision that follows: measured once, then kept."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from features import partitions
from monitoring import decide, performance
from serving import prediction_log, release
from settings import LoopError, Settings


def observe(settings: Settings, as_of: datetime) -> dict[str, Any]:
    """Measures the predictions of the window before `as_of`, and decides whether to retrain.

    Writes two pages to `var/reports`, a run to Evidently's workspace, and the result to
    `var/monitoring`; the same moment asked again gives the stored result. Raises `LoopError` if
    nothing is served, or nothing was predicted in the window.
    """
    stored = settings.var / "monitoring" / f"{as_of:%Y%m%dT%H%M}.json"
    if stored.exists():
        found: dict[str, Any] = json.loads(stored.read_text())
        return found
    params = settings.params()
    current = release.read(settings.release_file)
    if current is None:
        raise LoopError("There is no model to monitor: run `mlops run`.")
    folder = Path(current.champion.path).parent
    card = json.loads((folder / "card.json").read_text())
    reference = pd.read_parquet(folder / "reference.parquet")
    joined = predictions(settings, as_of, params)
    live, problems = _live(joined, params)
    drift, more = _drift(settings, reference, joined, params, as_of)
    decision = decide.decide(
        decide.Evidence(
            champion=current.champion.version,
            data_until=datetime.fromisoformat(card["data_until"]),
            n_labelled=int(joined["label"].notna().sum()),
            live=live, expected=card["evaluation"], drift=drift, problems=(*problems, *more),
        ),
        params["monitoring"]["policy"], as_of,
    )  # fmt: skip
    result = {
        **decision.as_dict(), "champion": current.champion.version,
        "n_predictions": len(joined), "live": live, "expected": card["evaluation"],
        "drift": drift, "problems": [*problems, *more],
        "slices": performance.by_slice(
            joined, model_columns(joined), params["costs"], params["monitoring"]["min_slice"]
        ),
    }  # fmt: skip
    _report(settings, result, joined, reference, params, as_of)
    _write(stored, result)
    return result


def latest(settings: Settings) -> dict[str, Any] | None:
    """The newest stored result; None if there is none."""
    stored = sorted((settings.var / "monitoring").glob("*.json"))
    return json.loads(stored[-1].read_text()) if stored else None


def predictions(settings: Settings, as_of: datetime, params: dict[str, Any]) -> pd.DataFrame:
    """The logged predictions of the window before `as_of`, with the labels known by then."""
    from usecase.target import LABEL_FEED, labels

    since = as_of - timedelta(days=params["monitoring"]["window_days"])
    log = prediction_log.read(settings.var / "log" / "predictions")
    if len(log):
        log = log[(log["decision_time"] >= since) & (log["decision_time"] < as_of)]
    if log.empty:
        raise LoopError(
            f"No prediction from {since:%Y-%m-%d} to {as_of:%Y-%m-%d} is in the log: "
            "nothing to monitor. Send requests to the service (`mlops serve`) or run `mlops run`."
        )
    known = partitions.read(settings.data, "validated", LABEL_FEED, since.date(), as_of.date())
    if known.empty:
        raise LoopError(f"No validated {LABEL_FEED} since {since:%Y-%m-%d}: run `mlops ingest`.")
    return performance.join_labels(log, labels(known), as_of)


def model_columns(joined: pd.DataFrame) -> pd.DataFrame:
    """The served features of each prediction, under the model's own names."""
    from usecase.feature_views import FEATURES

    return joined[[f"features.{name}" for name in FEATURES]].set_axis(FEATURES, axis=1)


def _live(
    joined: pd.DataFrame, params: dict[str, Any]
) -> tuple[dict[str, float] | None, list[str]]:
    try:
        return performance.live_metrics(joined, params["costs"], params["seed"]), []
    except ValueError as error:
        return None, [f"performance ({error})"]


def _drift(
    settings: Settings, reference: pd.DataFrame, joined: pd.DataFrame, params: dict[str, Any],
    as_of: datetime,
) -> tuple[dict[str, Any] | None, list[str]]:  # fmt: skip
    from monitoring import drift
    from usecase.feature_views import CATEGORIES, FEATURES

    current = pd.concat([model_columns(joined), joined[["probability", "label"]]], axis=1)
    try:
        found, snapshot = drift.compare(
            reference, current, features=FEATURES, categories=CATEGORIES,
            limits=params["monitoring"]["drift"], seed=params["seed"],
        )  # fmt: skip
    except LoopError as error:
        return None, [str(error)]
    html = settings.var / "reports" / f"drift-{as_of:%Y-%m-%d}.html"
    name = f"as of {as_of:%Y-%m-%d %H:%M}"
    drift.publish(snapshot, html, settings.var / "evidently", name=name, as_of=as_of)
    return asdict(found), []


def _report(
    settings: Settings, result: dict[str, Any], joined: pd.DataFrame, reference: pd.DataFrame,
    params: dict[str, Any], as_of: datetime,
) -> None:  # fmt: skip
    from monitoring import page

    known = joined[joined["label"].notna()]
    days = performance.by_day(joined, params["costs"])
    path = settings.var / "reports" / f"monitoring-{as_of:%Y-%m-%d}.html"
    page.write(path, result, days, known, reference)


def _write(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(result, indent=2))
    os.replace(draft, path)
