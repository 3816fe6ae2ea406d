"""Remove what is past its retention, as set in `retention` of params.yaml.

The age of a file is the real time since it was written. The age of a prediction is the simulated
time since its decision. Prefect's server removes old runs
(`prefect_commands.prefect_retention_environment`).
"""

from datetime import datetime, timedelta

from settings import Settings, UserError

# By kind: folder below `var` or the use case's state, and pattern of the files.
EXPIRING_FILES = {
    "results": (("prefect/storage", "*"),),
    "reports": (
        ("reports", "drift-*.html"),
        ("reports", "monitoring-*.html"),
        ("evidently", "*/snapshots/*.json"),
    ),
}
# By kind: section and name of its age in days in params.yaml.
AGE_PARAMETERS = {
    "runs": ("retention", "runs_days"),
    "results": ("retention", "results_days"),
    "reports": ("retention", "reports_days"),
    "predictions": ("monitoring", "keep_days"),
}


def retention_ages(settings: Settings) -> dict[str, timedelta]:
    """Return how long `runs`, `results`, `reports` and `predictions` are kept.

    Raises `UserError` for an age below a day, which would remove files in use.
    """
    params = settings.params()
    ages = {}
    for kind, (section, name) in AGE_PARAMETERS.items():
        days = params[section].get(name)
        if not isinstance(days, int | float) or not days >= 1:
            raise UserError(
                f"{section}.{name} is {days}, not a number of days of at least 1. It sets how long "
                f"files are kept. Change it in {settings.params_file}."
            )
        ages[kind] = timedelta(days=days)
    return ages


def remove_expired(settings: Settings, as_of: datetime, now: datetime) -> dict[str, int]:
    """Remove what is past its retention; return the counts `results`, `reports`, `predictions`.

    `now` is the real time, `as_of` the simulated one, both aware. The count `open` is the number of
    log segments that are still written to and were skipped. Raises what
    `erasure.expire_predictions` raises; the files are removed by then.
    """
    from serving.prediction_log import erasure

    ages = retention_ages(settings)
    counts = {}
    for kind, places in EXPIRING_FILES.items():
        limit = (now - ages[kind]).timestamp()
        paths = [
            path
            for folder, names in places
            for root in (settings.var, settings.state)
            for path in (root / folder).glob(names)
        ]
        old = [path for path in paths if path.is_file() and path.stat().st_mtime < limit]
        for path in old:
            path.unlink(missing_ok=True)
        counts[kind] = len(old)
    expired = erasure.expire_predictions(
        settings.use_case, settings.predictions, as_of - ages["predictions"]
    )
    return {**counts, "predictions": expired["removed"], "open": expired["open"]}
