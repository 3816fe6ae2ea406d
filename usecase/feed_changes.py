"""What can happen to a batch on its way? Changes of real batches, for the faults of `feed_faults`.

A `Change` takes `publish(feed, day)`, which gives the real batch, the feed, the UTC day, and the
day since when the fault lasts, and returns what is published instead. `Rows` is one of a batch
alone.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pandas as pd

from usecase.facts import vapour_pressure
from usecase.target import LATE_MINUTES, TIME_ZONE

Publish = Callable[[str, date], pd.DataFrame]
Change = Callable[[Publish, str, date, date], pd.DataFrame]
Rows = Callable[[pd.DataFrame], pd.DataFrame]
FLIGHTS = ("schedule", "outcomes")
DAY = timedelta(days=1)
REPEATED_SPAN = 28 * DAY  # before the days that the same weeks come again


def change_batches(change: Rows, *feeds: str) -> Change:
    """`change` of each batch of `feeds` by itself."""

    def changed(publish: Publish, feed: str, day: date, since: date) -> pd.DataFrame:
        return change(publish(feed, day)) if feed in feeds else publish(feed, day)

    return changed


def change_landings(change: Rows, back: int) -> Change:
    """`change` of outcomes that moves them in time: a batch has what became known on its day.

    `back` is by how many days a row may come later than it did.
    """

    def changed(publish: Publish, feed: str, day: date, since: date) -> pd.DataFrame:
        if feed != "outcomes":
            return publish(feed, day)
        around = [day + number * DAY for number in range(-back, 2)]
        rows = pd.concat([publish(feed, each) for each in around], ignore_index=True)
        old = rows["known_at"] < pd.Timestamp(since, tz="UTC")
        rows = pd.concat([rows[old], change(rows[~old])], ignore_index=True)
        start = pd.Timestamp(day, tz="UTC")
        return rows[(rows["known_at"] >= start) & (rows["known_at"] < start + DAY)]

    return changed


def land_later(rows: pd.DataFrame, minutes: pd.Series) -> pd.DataFrame:
    """The same flights landed `minutes` later, and every column says so."""
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
    """As in summer, and right in itself."""
    temp, dewp = rows["temp"] + 25, rows["dewp"] + 25
    return rows.assign(
        temp=temp, dewp=dewp, humid=100 * vapour_pressure(dewp) / vapour_pressure(temp)
    )


def freeze_column(column: str) -> Change:
    """The instruments of all stations repeat the last value from before the fault."""

    def changed(publish: Publish, feed: str, day: date, since: date) -> pd.DataFrame:
        rows = publish(feed, day)
        if feed != "weather":
            return rows
        last = publish(feed, since - DAY).dropna(subset=column)[column].iloc[-1]
        return rows.assign(**{column: last})

    return changed


def stop_feeds(*feeds: str) -> Change:
    def changed(publish: Publish, feed: str, day: date, since: date) -> pd.DataFrame:
        if feed in feeds:
            raise LookupError("nothing was published")
        return publish(feed, day)

    return changed


def duplicate_rows(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([rows, rows], ignore_index=True)


def send_previous_day(publish: Publish, feed: str, day: date, since: date) -> pd.DataFrame:
    return publish(feed, day - DAY) if feed in FLIGHTS else publish(feed, day)


def set_weather_clock_ahead(publish: Publish, feed: str, day: date, since: date) -> pd.DataFrame:
    """The stations' clocks are an hour ahead, in every column."""
    rows = publish(feed, day)
    if feed != "weather":
        return rows
    rows = pd.concat([publish(feed, day - DAY), rows])
    for column in ("time_hour", "known_at"):
        rows[column] += timedelta(hours=1)
    local = rows["time_hour"].dt.tz_convert(TIME_ZONE).dt
    rows = rows.assign(year=local.year, month=local.month, day=local.day, hour=local.hour)
    start = pd.Timestamp(day, tz="UTC")
    first = start if day > since else start + timedelta(hours=1)  # that hour is written twice
    return rows[(rows["known_at"] >= first) & (rows["known_at"] < start + DAY)]


def reverse_labels(rows: pd.DataFrame) -> pd.DataFrame:
    """At one airport late is reported as on time, and on time as late; every column agrees."""
    wanted = pd.Series(np.where(rows["arr_delay"] >= LATE_MINUTES, 0.0, 60.0), index=rows.index)
    hit = (rows["origin"] == "LGA") & rows["arr_delay"].notna()
    return land_later(rows, (wanted - rows["arr_delay"]).where(hit, 0.0))


def reverse_delays(rows: pd.DataFrame) -> pd.DataFrame:
    """The same in the delay alone."""
    hit = rows["origin"] == "LGA"
    return rows.assign(arr_delay=rows["arr_delay"].where(~hit, -rows["arr_delay"]))


def land_all_later(rows: pd.DataFrame) -> pd.DataFrame:
    return land_later(rows, pd.Series(15.0, index=rows.index))


def delay_labels(rows: pd.DataFrame) -> pd.DataFrame:
    hit = rows["origin"] == "LGA"
    return rows.assign(known_at=rows["known_at"].where(~hit, rows["known_at"] + 3 * DAY))


def add_new_origin(every: int) -> Rows:
    """One flight of `every` leaves from an airport that nobody knows yet."""
    return lambda rows: rows.assign(origin=rows["origin"].mask(rows["flight"] % every == 0, "HPN"))


def add_half_as_many_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Half as many flights again, of other numbers."""
    key = ["carrier", "flight", "origin", "sched_dep"]
    extra = rows[rows["flight"] % 2 == 0].assign(flight=lambda even: 10_000 - even["flight"])
    return pd.concat([rows, extra]).drop_duplicates(key).sort_values("known_at", kind="stable")


def shuffle_rows(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sample(frac=1, random_state=len(rows))


def repeat_past_weeks(publish: Publish, feed: str, day: date, since: date) -> pd.DataFrame:
    """The weeks before come again: the same distribution, day for day."""
    rows = publish(feed, day - REPEATED_SPAN)
    rows = rows.assign(
        **{
            name: rows[name] + REPEATED_SPAN
            for name in rows
            if isinstance(rows[name].dtype, pd.DatetimeTZDtype)
        }
    )
    if feed == "outcomes":  # of the flights that left on the first day the schedule is the real one
        rows, real = (
            part[_left(part).dt.date.gt(since) == repeated]
            for part, repeated in ((rows, True), (publish(feed, day), False))
        )
        return pd.concat([real, rows])
    written = rows["sched_dep" if feed == "schedule" else "time_hour"].dt.tz_convert(TIME_ZONE).dt
    return rows.assign(year=written.year, month=written.month, day=written.day)


def _left(rows: pd.DataFrame) -> pd.Series[pd.Timestamp]:
    return rows["sched_dep"].dt.tz_convert(TIME_ZONE)
