"""Names of key and feature columns, and which of them the model sees. Imports nothing."""

KEY = ["carrier", "flight", "origin", "sched_dep"]  # of a flight, in both feeds

# Window in hours -> its columns: number of flights, delay rate, mean delay (minutes).
WindowColumns = dict[int, tuple[str, str, str]]


def _window_names(prefix: str, *windows: int) -> WindowColumns:
    return {
        hours: (
            f"{prefix}_flights_{hours}h",
            f"{prefix}_delay_rate_{hours}h",
            f"{prefix}_mean_delay_{hours}h",
        )
        for hours in windows
    }


def window_columns(windows: WindowColumns) -> list[str]:
    """Return all columns of these windows."""
    return [column for columns in windows.values() for column in columns]


WEATHER = ["temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
ORIGIN = _window_names("origin", 2, 6, 24)
CARRIER = _window_names("carrier", 2, 6, 24)
ROUTE = _window_names("route", 6, 24)
TAIL = _window_names("tail", 6, 24)
BANDS = ["registered_size", "registered_age"]  # of planes
ON_DEMAND = [
    "hour", "minute_of_day", "weekday", "plane_size", "plane_age",
    "plane_delay_rate_6h", "plane_mean_delay_6h", "plane_delay_rate_24h", "plane_mean_delay_24h",
]  # fmt: skip

# The columns that the model sees, in this order: Feast's own order changes with the hash seed.
CATEGORIES = ["carrier", "origin", "dest"]
NUMBERS = [
    *WEATHER, *window_columns(ORIGIN), *window_columns(CARRIER), *window_columns(ROUTE), "distance",
    *ON_DEMAND,
]  # fmt: skip
