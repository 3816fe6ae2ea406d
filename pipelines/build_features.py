"""Stage: feature tables from validated batches, and their definitions in Feast's registry."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from pipelines import stage
from settings import Settings


def build_new(settings: Settings, as_of: datetime) -> dict[str, int]:
    """Builds what is missing of each table before `as_of`; number of days built by table."""
    from features.build import build_new as build

    params = settings.params()
    return build(
        settings.data,
        date.fromisoformat(str(params["first_day"])),
        as_of,
        timedelta(seconds=params["features"]["publish_lag_seconds"]),
    )


if __name__ == "__main__":
    stage.run(build_new)
