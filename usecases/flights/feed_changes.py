"""Changes of real batches, for the faults in `feed_faults.py`.

A `Change` takes `publish(feed, day)`, which returns the real batch, then the feed, the UTC day, and
the first day of the fault. It returns the batch to publish instead. `Rows` changes one batch alone.
"""

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pandas as pd

from usecases.flights.columns import KEY
from usecases.flights.facts import vapour_pressure
from usecases.flights.target import LATE_MINUTES, TIME_ZONE

Publish = Callable[[str, date], pd.DataFrame]
Change = Callable[[Publish, str, date, date], pd.DataFrame]
Rows = Callable[[pd.DataFrame], pd.DataFrame]
FLIGHTS = ("schedule", "outcomes")
DAY = timedelta(days=1)
REPEATED_SPAN = 28 * DAY  # how far back the repeated weeks are


def on_feeds(change: Change, *feeds: str) -> Change:
    """Apply `change` to `feeds`; the others stay unchanged."""

    def changed(publish: Publish, feed: str, day: date, since: date) -> pd.DataFrame:
        return change(publish, feed, day, since) if feed in feeds else publish(feed, day)

    return changed


def change_batches(change: Rows, *feeds: str) -> Change:
    """Apply `change` to each batch of `feeds`."""
    return on_feeds(lambda publish, feed, day, since: change(publish(feed, day)), *feeds)


def change_landings(change: Rows, back: int) -> Change:
    """Apply a `change` that moves outcomes in time, then assign rows to the day of `known_at`.

    `back` is the largest delay of a row, in days.
    """

    def changed(publish: Publish, feed: str, day: date, since: date) -> pd.DataFrame:
        around = [day + number * DAY for number in range(-back, 2)]
        rows = pd.concat([publish(feed, each) for each in around], ignore_index=True)
        old = rows["known_at"] < pd.Timestamp(since, tz="UTC")
        rows = pd.concat([rows[old], change(rows[~old])], ignore_index=True)
        start = pd.Timestamp(day, tz="UTC")
        return rows[(rows["known_at"] >= start) & (rows["known_at"] < start + DAY)]

    return on_feeds(changed, "outcomes")


def land_later(rows: pd.DataFrame, minutes: pd.Series) -> pd.DataFrame:
    """Land the flights `minutes` later, consistently in every column."""
    clock = rows["arr_time"] // 100 * 60 + rows["arr_time"] % 100 + minutes
    clock = (clock - 1) % 1440 + 1  # midnight is 2400
    return rows.assign(
        arr_delay=rows["arr_delay"] + minutes,
        arr_time=clock // 60 * 100 + clock % 60,
        known_at=rows["known_at"] + pd.to_timedelta(minutes.fillna(0), unit="min"),
    )


def rename_carrier(old: str, new: str) -> Rows:
    return lambda rows: rows.assign(carrier=rows["carrier"].replace(old, new))


def empty_columns(carrier: str, *columns: str) -> Rows:
    def change(rows: pd.DataFrame) -> pd.DataFrame:
        hit = rows["carrier"] == carrier
        return rows.assign(**{name: rows[name].mask(hit) for name in columns})

    return change


def shift_times(**columns: timedelta) -> Rows:
    return lambda rows: rows.assign(**{name: rows[name] + by for name, by in columns.items()})


def convert_to_celsius(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(**{name: (rows[name] - 32) * 5 / 9 for name in ("temp", "dewp")})


def raise_temperatures(rows: pd.DataFrame) -> pd.DataFrame:
    """Raise temperatures to those of summer, with consistent humidity."""
    temp, dewp = rows["temp"] + 25, rows["dewp"] + 25
    return rows.assign(
        temp=temp, dewp=dewp, humid=100 * vapour_pressure(dewp) / vapour_pressure(temp)
    )


def freeze_pressure(publish: Publish, feed: str, day: date, since: date) -> pd.DataFrame:
    """Repeat the last pressure from before the fault at all stations."""
    before = publish(feed, since - DAY)["pressure"].dropna()
    return publish(feed, day).assign(pressure=before.iloc[-1])


def publish_nothing(publish: Publish, feed: str, day: date, since: date) -> pd.DataFrame:
    raise LookupError("nothing was published")


def duplicate_rows(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([rows, rows], ignore_index=True)


def send_previous_day(publish: Publish, feed: str, day: date, since: date) -> pd.DataFrame:
    return publish(feed, day - DAY)


def set_clock_ahead(publish: Publish, feed: str, day: date, since: date) -> pd.DataFrame:
    """Set the stations' clocks an hour ahead, in every column."""
    rows = pd.concat([publish(feed, day - DAY), publish(feed, day)])
    for column in ("time_hour", "known_at"):
        rows[column] += timedelta(hours=1)
    local = rows["time_hour"].dt.tz_convert(TIME_ZONE).dt
    rows = rows.assign(year=local.year, month=local.month, day=local.day, hour=local.hour)
    start = pd.Timestamp(day, tz="UTC")
    # The day before the fault already published this hour.
    first = start if day > since else start + timedelta(hours=1)
    return rows[(rows["known_at"] >= first) & (rows["known_at"] < start + DAY)]


def reverse_labels(rows: pd.DataFrame) -> pd.DataFrame:
    """Exchange late and on time at one airport, consistently in every column."""
    wanted = pd.Series(np.where(rows["arr_delay"] >= LATE_MINUTES, 0.0, 60.0), index=rows.index)
    hit = (rows["origin"] == "LGA") & rows["arr_delay"].notna()
    return land_later(rows, (wanted - rows["arr_delay"]).where(hit, 0.0))


def reverse_delays(rows: pd.DataFrame) -> pd.DataFrame:
    """Change the sign of the arrival delay at one airport, in no other column."""
    hit = rows["origin"] == "LGA"
    return rows.assign(arr_delay=rows["arr_delay"].where(~hit, -rows["arr_delay"]))


def land_all_later(rows: pd.DataFrame) -> pd.DataFrame:
    return land_later(rows, pd.Series(15.0, index=rows.index))


def delay_labels(rows: pd.DataFrame) -> pd.DataFrame:
    hit = rows["origin"] == "LGA"
    return rows.assign(known_at=rows["known_at"].where(~hit, rows["known_at"] + 3 * DAY))


def add_new_origin(every: int) -> Rows:
    """Move one flight in `every` to an unknown airport."""
    return lambda rows: rows.assign(origin=rows["origin"].mask(rows["flight"] % every == 0, "HPN"))


def add_half_as_many_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Add half as many flights, with other numbers."""
    extra = rows[rows["flight"] % 2 == 0].assign(flight=lambda even: 10_000 - even["flight"])
    return pd.concat([rows, extra]).drop_duplicates(KEY).sort_values("known_at", kind="stable")


def shuffle_rows(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sample(frac=1, random_state=len(rows))


def repeat_past_weeks(publish: Publish, feed: str, day: date, since: date) -> pd.DataFrame:
    """Repeat earlier weeks, day by day, with the same distribution."""
    rows = publish(feed, day - REPEATED_SPAN)
    times = rows.select_dtypes("datetimetz").columns
    rows = rows.assign(**{name: rows[name] + REPEATED_SPAN for name in times})
    if feed == "outcomes":  # the first day's departures keep the real schedule
        real = publish(feed, day)
        real_first, repeated_later = _departure_day(real) <= since, _departure_day(rows) > since
        return pd.concat([real[real_first], rows[repeated_later]])
    written = rows["sched_dep" if feed == "schedule" else "time_hour"].dt.tz_convert(TIME_ZONE).dt
    return rows.assign(year=written.year, month=written.month, day=written.day)


def _departure_day(rows: pd.DataFrame) -> pd.Series:
    return rows["sched_dep"].dt.tz_convert(TIME_ZONE).dt.date
