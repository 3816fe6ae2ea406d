"""Recipe stage: build feature tables from validated batches and register them with Feast."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from features import locks
from pipelines.runtime import stage_command
from settings import Settings


@locks.with_data_lock
def build_feature_tables(settings: Settings, as_of: datetime) -> dict[str, int]:
    """Build the missing days of each table before `as_of`; return the days built by table."""
    from features import build_manifest

    params = settings.params()
    lag = timedelta(seconds=params["features"]["publish_lag_seconds"])
    if build_manifest.is_up_to_date(settings.data, as_of, lag):
        return {}
    from features.table_builder import build_tables as build

    return build(settings.data, date.fromisoformat(str(params["first_day"])), as_of, lag)


if __name__ == "__main__":
    stage_command.run_stage_command(build_feature_tables)
