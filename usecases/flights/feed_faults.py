"""Faults that `mlops prove --monitoring` puts into batches, and benign changes.

`feed_changes.py` defines each change.
"""

from datetime import timedelta

from contract import FeedFault
from usecases.flights import feed_changes as changes
from usecases.flights.feed_changes import FLIGHTS, change_batches, change_landings, on_feeds

HOUR = timedelta(hours=1)
FAULTS = (
    FeedFault("temperatures in another unit", "validation", "refuse", 24,
              change_batches(changes.convert_to_celsius, "weather")),
    FeedFault("a column frozen at its last value", "validation", "refuse", 24,
              on_feeds(changes.freeze_pressure, "weather")),
    FeedFault("a carrier renamed", "validation", "refuse", 24,
              change_batches(changes.rename_carrier("UA", "U2"), *FLIGHTS)),
    FeedFault("a small carrier renamed", "validation", "alarm", 24,
              change_batches(changes.rename_carrier("VX", "V2"), *FLIGHTS)),
    FeedFault("the smallest carrier renamed", "none", "nothing", 24,
              change_batches(changes.rename_carrier("HA", "H2"), *FLIGHTS),
              "one row a day: it goes to quarantine with its reason, and raises no alarm",
              days=14),
    FeedFault("the outcomes stop", "freshness", "alarm", 26,
              on_feeds(changes.publish_nothing, "outcomes")),
    FeedFault("the weather stops", "freshness", "alarm", 26,
              on_feeds(changes.publish_nothing, "weather")),
    FeedFault("every row of a batch twice", "validation", "refuse", 24,
              change_batches(changes.duplicate_rows, "outcomes")),
    FeedFault("yesterday's batch again", "validation", "refuse", 24,
              on_feeds(changes.send_previous_day, *FLIGHTS)),
    FeedFault("the schedule's clock an hour ahead", "validation", "refuse", 24,
              change_batches(changes.shift_times(time_hour=HOUR, sched_dep=HOUR, sched_arr=HOUR),
                             "schedule")),
    FeedFault("the weather's clock an hour ahead, in all columns", "none", "nothing", 24,
              on_feeds(changes.set_clock_ahead, "weather"),
              "no other feed has the time of observation, and the model loses almost nothing",
              days=14),
    FeedFault("labels of one airport three days late", "labels", "alarm", 72,
              change_landings(changes.delay_labels, 3),
              days=8),
    FeedFault("delays of one airport reversed", "validation", "refuse", 24,
              change_batches(changes.reverse_delays, "outcomes")),
    FeedFault("labels of one airport reversed in all columns", "performance", "alarm", 168,
              change_landings(changes.reverse_labels, 1),
              days=11),
    FeedFault("all flights land 15 minutes later", "performance", "retrain", 192,
              change_landings(changes.land_all_later, 1),
              days=14),
    FeedFault("temperatures of another season", "none", "nothing", 24,
              change_batches(changes.raise_temperatures, "weather"),
              "the answers stay calibrated: pages show drift by feature, and no action follows",
              days=14),
    FeedFault("a tenth of the flights from a new origin", "validation", "refuse", 24,
              change_batches(changes.add_new_origin(10), *FLIGHTS)),
    FeedFault("a few flights from a new origin", "validation", "alarm", 24,
              change_batches(changes.add_new_origin(50), *FLIGHTS)),
    FeedFault("one carrier's tail numbers empty", "validation", "refuse", 24,
              change_batches(changes.empty_columns("UA", "tailnum"), "schedule")),
    FeedFault("one carrier's arrivals empty", "validation", "refuse", 24,
              change_batches(changes.empty_columns("UA", "arr_delay", "arr_time", "air_time"),
                             "outcomes")),
)  # fmt: skip
BENIGN = (
    FeedFault("unchanged days", "none", "nothing", 0, change_batches(lambda rows: rows),
              days=14),
    FeedFault("three weeks of the same distribution", "none", "nothing", 0,
              changes.repeat_past_weeks,
              begins=7, days=28),
    FeedFault("half as many rows more", "none", "nothing", 0,
              change_batches(changes.add_half_as_many_rows, *FLIGHTS),
              days=10),
    FeedFault("rows in another order", "none", "nothing", 0,
              change_batches(changes.shuffle_rows, *FLIGHTS, "weather"),
              days=10),
)  # fmt: skip
