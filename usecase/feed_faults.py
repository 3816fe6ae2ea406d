"""What goes wrong with the feeds? The faults that `mlops prove --monitoring` puts into batches.

A fault takes `publish(feed, day)`, which gives the real batch, the feed, the UTC day, and the day
since when it lasts, and returns what is published instead. `watcher` is who must notice, and within
how many hours; `reaction` what must follow. Where nobody notices, `why` says why that is right.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
import pandas as pd

from usecase.facts import vapour
from usecase.target import LATE_MINUTES, TIME_ZONE

Publish = Callable[[str, date], pd.DataFrame]
Change = Callable[[Publish, str, date, date], pd.DataFrame]
Rows = Callable[[pd.DataFrame], pd.DataFrame]
FLIGHTS = ("schedule", "outcomes")
DAY = timedelta(days=1)
AGAIN = 28 * DAY  # before the days that the same weeks come again


class FeedFault(NamedTuple):
    told: str
    watcher: str  # "validation", "freshness", "labels", "performance", "drift" or "none"
    reaction: str  # "refuse", "alarm", "retrain" or "nothing"
    hours: float
    change: Change
    why: str = ""
    begins: int = 3  # days after the champion's training
    days: int = 5  # that are watched after it


def in_batches(change: Rows, *feeds: str) -> Change:
    """`change` of each batch of `feeds` by itself."""

    def changed(publish: Publish, feed: str, day: date, since: date) -> pd.DataFrame:
        return change(publish(feed, day)) if feed in feeds else publish(feed, day)

    return changed


def in_landings(change: Rows, back: int) -> Change:
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


def landed(rows: pd.DataFrame, minutes: pd.Series) -> pd.DataFrame:
    """The same flights landed `minutes` later, and every column says so."""
    clock = rows["arr_time"] // 100 * 60 + rows["arr_time"] % 100 + minutes
    clock = (clock - 1) % 1440 + 1  # midnight is 2400
    return rows.assign(
        arr_delay=rows["arr_delay"] + minutes,
        arr_time=clock // 60 * 100 + clock % 60,
        known_at=rows["known_at"] + pd.to_timedelta(minutes.fillna(0), unit="min"),
    )


def renamed(old: str, new: str) -> Rows:
    return lambda rows: rows.assign(carrier=rows["carrier"].replace(old, new))


def emptied(carrier: str, *columns: str) -> Rows:
    def change(rows: pd.DataFrame) -> pd.DataFrame:
        hit = rows["carrier"] == carrier
        return rows.assign(**{name: rows[name].mask(hit) for name in columns})

    return change


def later(**columns: timedelta) -> Rows:
    return lambda rows: rows.assign(**{name: rows[name] + by for name, by in columns.items()})


def in_celsius(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(**{name: (rows[name] - 32) * 5 / 9 for name in ("temp", "dewp")})


def warmer(rows: pd.DataFrame) -> pd.DataFrame:
    """As in summer, and right in itself."""
    temp, dewp = rows["temp"] + 25, rows["dewp"] + 25
    return rows.assign(temp=temp, dewp=dewp, humid=100 * vapour(dewp) / vapour(temp))


def frozen(column: str) -> Change:
    """The instruments of all stations repeat the last value from before the fault."""

    def changed(publish: Publish, feed: str, day: date, since: date) -> pd.DataFrame:
        rows = publish(feed, day)
        if feed != "weather":
            return rows
        last = publish(feed, since - DAY).dropna(subset=column)[column].iloc[-1]
        return rows.assign(**{column: last})

    return changed


def stopped(*feeds: str) -> Change:
    def changed(publish: Publish, feed: str, day: date, since: date) -> pd.DataFrame:
        if feed in feeds:
            raise LookupError("nothing was published")
        return publish(feed, day)

    return changed


def twice(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([rows, rows], ignore_index=True)


def of_the_day_before(publish: Publish, feed: str, day: date, since: date) -> pd.DataFrame:
    return publish(feed, day - DAY) if feed in FLIGHTS else publish(feed, day)


def of_the_hour_before(publish: Publish, feed: str, day: date, since: date) -> pd.DataFrame:
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


def reversed_labels(rows: pd.DataFrame) -> pd.DataFrame:
    """At one airport late is reported as on time, and on time as late; every column agrees."""
    wanted = pd.Series(np.where(rows["arr_delay"] >= LATE_MINUTES, 0.0, 60.0), index=rows.index)
    hit = (rows["origin"] == "LGA") & rows["arr_delay"].notna()
    return landed(rows, (wanted - rows["arr_delay"]).where(hit, 0.0))


def reversed_delays(rows: pd.DataFrame) -> pd.DataFrame:
    """The same in the delay alone."""
    hit = rows["origin"] == "LGA"
    return rows.assign(arr_delay=rows["arr_delay"].where(~hit, -rows["arr_delay"]))


def all_later(rows: pd.DataFrame) -> pd.DataFrame:
    return landed(rows, pd.Series(15.0, index=rows.index))


def late_labels(rows: pd.DataFrame) -> pd.DataFrame:
    hit = rows["origin"] == "LGA"
    return rows.assign(known_at=rows["known_at"].where(~hit, rows["known_at"] + 3 * DAY))


def from_new_origin(every: int) -> Rows:
    """One flight of `every` leaves from an airport that nobody knows yet."""
    return lambda rows: rows.assign(origin=rows["origin"].mask(rows["flight"] % every == 0, "HPN"))


def more(rows: pd.DataFrame) -> pd.DataFrame:
    """Half as many flights again, of other numbers."""
    key = ["carrier", "flight", "origin", "sched_dep"]
    extra = rows[rows["flight"] % 2 == 0].assign(flight=lambda even: 10_000 - even["flight"])
    return pd.concat([rows, extra]).drop_duplicates(key).sort_values("known_at", kind="stable")


def reordered(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sample(frac=1, random_state=len(rows))


def again(publish: Publish, feed: str, day: date, since: date) -> pd.DataFrame:
    """The weeks before come again: the same distribution, day for day."""
    rows = publish(feed, day - AGAIN)
    rows = rows.assign(
        **{
            name: rows[name] + AGAIN
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


HOUR = timedelta(hours=1)
FAULTS = (
    FeedFault("temperatures in another unit", "validation", "refuse", 24,
              in_batches(in_celsius, "weather")),
    FeedFault("a column frozen at its last value", "validation", "refuse", 24, frozen("pressure")),
    FeedFault("a carrier renamed", "validation", "refuse", 24,
              in_batches(renamed("UA", "U2"), *FLIGHTS)),
    FeedFault("a small carrier renamed", "validation", "alarm", 24,
              in_batches(renamed("VX", "V2"), *FLIGHTS)),
    FeedFault("the smallest carrier renamed", "none", "nothing", 24,
              in_batches(renamed("HA", "H2"), *FLIGHTS),
              "a row a day: it stands in quarantine with its reason, and calls nobody",
              days=14),
    FeedFault("the outcomes stop", "freshness", "alarm", 26, stopped("outcomes")),
    FeedFault("the weather stops", "freshness", "alarm", 26, stopped("weather")),
    FeedFault("a batch twice in one", "validation", "refuse", 24, in_batches(twice, "outcomes")),
    FeedFault("the batch of the day before again", "validation", "refuse", 24, of_the_day_before),
    FeedFault("the schedule's clock an hour ahead", "validation", "refuse", 24,
              in_batches(later(time_hour=HOUR, sched_dep=HOUR, sched_arr=HOUR), "schedule")),
    FeedFault("the weather's clock an hour ahead, in all columns", "none", "nothing", 24,
              of_the_hour_before,
              "no other feed knows when it was observed, and the model loses next to nothing",
              days=14),
    FeedFault("labels of one airport three days late", "labels", "alarm", 72,
              in_landings(late_labels, 3),
              days=8),
    FeedFault("delays of one airport reversed", "validation", "refuse", 24,
              in_batches(reversed_delays, "outcomes")),
    FeedFault("labels of one airport reversed in all columns", "performance", "alarm", 168,
              in_landings(reversed_labels, 1),
              days=11),
    FeedFault("all land a quarter of an hour later", "performance", "retrain", 192,
              in_landings(all_later, 1),
              days=14),
    FeedFault("another season's temperatures alone", "none", "nothing", 24,
              in_batches(warmer, "weather"),
              "the answers stay calibrated: drift is shown by feature, and asks for nothing",
              days=14),
    FeedFault("a tenth of the flights from a new origin", "validation", "refuse", 24,
              in_batches(from_new_origin(10), *FLIGHTS)),
    FeedFault("a few flights from a new origin", "validation", "alarm", 24,
              in_batches(from_new_origin(50), *FLIGHTS)),
    FeedFault("one carrier's tail numbers empty", "validation", "refuse", 24,
              in_batches(emptied("UA", "tailnum"), "schedule")),
    FeedFault("one carrier's arrivals empty", "validation", "refuse", 24,
              in_batches(emptied("UA", "arr_delay", "arr_time", "air_time"), "outcomes")),
)  # fmt: skip
BENIGN = (
    FeedFault("the days as they were", "none", "nothing", 0, in_batches(lambda rows: rows),
              days=14),
    FeedFault("three weeks of the same distribution", "none", "nothing", 0, again,
              begins=7, days=28),
    FeedFault("half as many rows again", "none", "nothing", 0, in_batches(more, *FLIGHTS),
              days=10),
    FeedFault("rows in another order", "none", "nothing", 0,
              in_batches(reordered, *FLIGHTS, "weather"),
              days=10),
)  # fmt: skip
