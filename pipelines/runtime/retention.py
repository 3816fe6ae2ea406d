"""Removes what has passed its age, which `retention` in usecase/params.yaml states.

A file's age is the real time since it was written; a prediction's is the world's time since its
decision. Prefect's server removes old runs by itself (`commands.retention_environment`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from settings import Settings, UserError

# By kind: folders below `var`, and the files in them.
EXPIRING_FILES = {
    "results": (("prefect/storage", "*"),),
    "reports": (
        ("reports", "drift-*.html"),
        ("reports", "monitoring-*.html"),
        ("evidently", "*/snapshots/*.json"),
    ),
}


def retention_ages(settings: Settings) -> dict[str, timedelta]:
    """How long `runs`, `results`, `reports` and `predictions` are kept.

    Raises `UserError` for an age below a day: it would remove what is still in use.
    """
    params = settings.params()
    kept = params["retention"]
    found = {
        **{
            f"retention.{kind}_days": kept.get(f"{kind}_days") for kind in ("runs", *EXPIRING_FILES)
        },
        "monitoring.keep_days": params["monitoring"].get("keep_days"),
    }
    for name, days in found.items():
        if not isinstance(days, int | float) or not days >= 1:
            raise UserError(
                f"{name} is {days}, which is no number of days from 1 on. It says how long things "
                f"are kept. Set it in {settings.params_file}."
            )
    kinds = ("runs", *EXPIRING_FILES, "predictions")
    return dict(zip(kinds, (timedelta(days=days) for days in found.values()), strict=True))


def remove_expired(settings: Settings, as_of: datetime, now: datetime) -> dict[str, int]:
    """Remove what is too old; counts by kind: `results`, `reports`, `predictions`.

    `now` is the real time, `as_of` the world's, both aware. `open` counts the segments of the
    prediction log that are still written to, and were left. Raises what
    `serving.prediction_log.erasure.expire_predictions`
    does; the files are removed by then.
    """
    from serving.prediction_log import erasure

    kept = retention_ages(settings)
    done = {}
    for kind, places in EXPIRING_FILES.items():
        found = [path for folder, names in places for path in (settings.var / folder).glob(names)]
        gone = files_older_than(found, now - kept[kind])
        for path in gone:
            path.unlink(missing_ok=True)
        done[kind] = len(gone)
    expired = erasure.expire_predictions(settings.predictions, as_of - kept["predictions"])
    return {**done, "predictions": expired["removed"], "open": expired["open"]}


def files_older_than(paths: Iterable[Path], before: datetime) -> list[Path]:
    """The files of `paths` that were last written before `before` (aware)."""
    limit = before.timestamp()
    return [path for path in paths if path.is_file() and path.stat().st_mtime < limit]
