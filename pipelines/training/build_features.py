"""Recipe stage: build feature tables from validated batches."""

from datetime import date, datetime, timedelta

from features import locks, table_builder
from pipelines.runtime import stage_command
from settings import Settings


@locks.with_data_lock
def build_feature_tables(settings: Settings, as_of: datetime) -> dict[str, int]:
    """Build the missing days of each table before `as_of`; return the days built by table."""
    params = settings.params()
    lag = timedelta(seconds=params["features"]["publish_lag_seconds"])
    first_day = date.fromisoformat(str(params["first_day"]))
    built = table_builder.build_tables(settings, first_day, as_of, lag)
    return {table: days for table, days in built.items() if days}


if __name__ == "__main__":
    stage_command.run_stage_command(build_feature_tables)
