"""Training and serving see the same features, and no data from after the decision.

The data are the first days of the source. The offline join and the online store are each other's
oracle. The oracle for time is a rebuild without later rows.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from features import feast_store, partitions, skew_checks
from features.online_publisher import Publisher, publish_features, rebuild_online_store
from features.online_reader import OnlineReader
from features.point_in_time import training_frame
from features.table_builder import build_tables, record_late_publication
from settings import Settings
from tests.slice_params import shipped_params
from tests.use_case import CATEGORIES, NUMBERS, PARAMS_FILE, USE_CASE
from tests.usecases.flights.restating import restated

FIRST, DAYS = date(2013, 1, 1), 10
END = datetime(2013, 1, 1 + DAYS, tzinfo=UTC)
LAG = timedelta(minutes=2)

Change = Callable[[str, pd.DataFrame], pd.DataFrame]
Home = Callable[..., Settings]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create, once, the first days validated, their features, and Feast's registry."""
    root = tmp_path_factory.mktemp("template")
    settings = Settings(home=root)
    for feed in USE_CASE.feeds:
        for day in partitions.day_range(FIRST, END.date()):
            if USE_CASE.due(feed, day):
                target = partitions.partition_path(settings.data, "validated", feed, day)
                partitions.write_partition(USE_CASE.fetch(feed, day), target)
    build_tables(settings, FIRST, END, LAG)
    with pytest.MonkeyPatch.context() as patched:
        use_home(settings, patched)
        feast_store.apply_definitions(settings)
    return root


def link(one: str, other: str) -> None:
    """Link partitions, which are only ever replaced; copy other files."""
    (os.link if one.endswith(partitions.SUFFIX) else shutil.copy)(one, other)


def use_home(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables of Feast's configuration and the working folder to this home."""
    for name in ("MLOPS_FEAST_REGISTRY", "MLOPS_FEAST_ONLINE"):
        monkeypatch.setenv(name, settings.environment()[name])
    monkeypatch.chdir(settings.root)


@pytest.fixture
def home(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Return a function that makes a home with the days before `end`, rebuilding changed days."""

    def make(
        name: str, change: Change | None = None, late: dict[datetime, datetime] | None = None,
        end: datetime = END,
    ) -> Settings:  # fmt: skip
        root, changed = tmp_path / name, bool(change or late)
        settings = Settings(home=root)
        settings.params_file.parent.mkdir(parents=True)
        shutil.copy(PARAMS_FILE, settings.params_file)
        shutil.copytree(template / "var", root / "var")
        for layer in ("validated",) if changed else ("validated", "features"):
            shutil.copytree(
                template / "data" / USE_CASE.name / layer,
                root / "data" / USE_CASE.name / layer,
                copy_function=link,
            )
        for part in (root / "data" / USE_CASE.name / "validated").rglob("*.parquet"):
            if date.fromisoformat(part.stem) >= end.date():
                part.unlink()
            elif change:
                rows = pd.read_parquet(part)
                if not (changed_rows := change(part.parent.name, rows)).equals(rows):
                    partitions.write_partition(changed_rows, part)
        for hour, published in (late or {}).items():
            record_late_publication(settings.data, hour, published)
        use_home(settings, monkeypatch)
        build_tables(settings, FIRST, end, LAG)
        return settings

    return make


def cases(settings: Settings, since: datetime, until: datetime) -> pd.DataFrame:
    found = USE_CASE.spine(
        partitions.read_days(settings.data, "validated", USE_CASE.spine_feed, FIRST, END.date())
    )
    moment = found["decision_time"]
    chosen = found[(moment >= since) & (moment < until)]
    return chosen.sort_values(["decision_time", "key"], ignore_index=True)


def online_rows(settings: Settings, case_rows: pd.DataFrame) -> pd.DataFrame:
    """Return the online values of each case at its decision time, publishing rows in order."""
    start = case_rows["decision_time"].iloc[0].to_pydatetime()
    publish_features(settings, start)
    publisher = Publisher(settings, start, END)
    reader = OnlineReader(settings)
    moments = pd.DatetimeIndex([start, *publisher.moments(END)])
    group = moments.searchsorted(case_rows["decision_time"], side="right") - 1
    rows = []
    for number, batch in case_rows.groupby(group):
        publisher.step(moments[int(str(number))].to_pydatetime())
        found = reader.read(batch.to_dict("records"), list(batch["decision_time"]))
        rows += [row.values for row in found]
    return pd.DataFrame(rows)


def assert_same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Compare value by value, with NaN equal to NaN; the message names the differing columns."""
    assert len(one) == len(other) > 0
    for name in CATEGORIES:
        assert list(one[name]) == list(other[name]), name
    left, right = (frame[NUMBERS].astype("float64").to_numpy() for frame in (one, other))
    differ = ~((left == right) | (np.isnan(left) & np.isnan(right)))
    columns = {NUMBERS[column]: int(differ[:, column].sum()) for column in np.where(differ)[1]}
    assert not columns, f"of {len(one)} rows these differ: {columns}"


def test_online_equals_offline_value_for_value(home: Home) -> None:
    settings = home("on_time")
    case_rows = cases(settings, datetime(2013, 1, 4, tzinfo=UTC), END)
    assert len(case_rows) >= 5000
    assert_same(online_rows(settings, case_rows), training_frame(settings, case_rows))


def test_online_equals_offline_when_publishing_ran_late(home: Home) -> None:
    start = datetime(2013, 1, 5, tzinfo=UTC)
    late = {
        start + timedelta(hours=hour): start + timedelta(hours=hour, minutes=minutes)
        for hour, minutes in [(8, 7), (11, 40), (12, 90), (13, 31), (19, 200), (20, 15), (37, 59)]
    }
    settings = home("late", late=late)
    case_rows = cases(settings, start, start + timedelta(days=3))
    seen = training_frame(settings, case_rows)
    assert_same(online_rows(settings, case_rows), seen)
    on_time = training_frame(home("punctual"), case_rows)
    moved = (seen[NUMBERS].fillna(-1) != on_time[NUMBERS].fillna(-1)).any(axis=1)
    assert moved.sum() > 100, "the delay had no effect, so this test shows nothing"


def test_a_value_past_its_time_to_live_is_not_served(home: Home) -> None:
    settings = home("stale")
    moment = datetime(2013, 1, 6, 12, tzinfo=UTC)
    case_rows = cases(settings, moment + timedelta(hours=5), moment + timedelta(hours=6))
    rebuild_online_store(settings, moment)  # publishing stops here
    rows = OnlineReader(settings).read(
        case_rows.to_dict("records"), list(case_rows["decision_time"])
    )
    fresh = online_rows(settings, case_rows)
    stopped = pd.DataFrame([row.values for row in rows])
    lost = stopped[NUMBERS].isna().mean() - fresh[NUMBERS].isna().mean()
    assert (lost > 0.9).sum() >= 8, "hourly features must be absent five hours after the last"
    assert all(row.as_of is not None and row.as_of <= moment for row in rows)


@pytest.mark.parametrize("hours", [17, 41, 53, 90, 131, 160, 184, 199, 215, 230])
def test_no_feature_changes_when_the_future_is_deleted(home: Home, hours: int) -> None:
    moment = datetime(2013, 1, 1, tzinfo=UTC) + timedelta(hours=hours)
    settings = home("whole")
    case_rows = cases(settings, moment - timedelta(minutes=59), moment + timedelta(seconds=1))
    seen = training_frame(settings, case_rows)

    def until(feed: str, rows: pd.DataFrame) -> pd.DataFrame:
        return rows[rows["known_at"] <= cut].reset_index(drop=True)

    for cut in sorted(set(case_rows["decision_time"]))[-3:]:
        at = (case_rows["decision_time"] == cut).to_numpy()
        # The last day contains the cut; later days have no rows.
        end = cut.to_pydatetime().replace(hour=0, minute=0) + timedelta(days=1)
        past = training_frame(home(f"until_{cut:%d%H%M}", change=until, end=end), case_rows[at])
        assert_same(past, seen[at].reset_index(drop=True))


def test_a_row_that_became_known_too_late_is_not_used(home: Home) -> None:
    # An event at noon becomes known five hours later, or never. Decisions in between must be the
    # same in both cases, although the event itself precedes them.
    noon = pd.Timestamp(2013, 1, 6, 17, tzinfo=UTC)

    def happened(rows: pd.DataFrame) -> pd.Series:
        return (rows["known_at"] > noon - timedelta(hours=1)) & (rows["known_at"] <= noon)

    def delayed(feed: str, rows: pd.DataFrame) -> pd.DataFrame:
        if feed != USE_CASE.label_feed:
            return rows
        known = rows["known_at"].where(~happened(rows), rows["known_at"] + timedelta(hours=5))
        return rows.assign(known_at=known)

    def deleted(feed: str, rows: pd.DataFrame) -> pd.DataFrame:
        return rows[~happened(rows)].reset_index(drop=True) if feed == USE_CASE.label_feed else rows

    world = home("world")
    case_rows = cases(world, noon.to_pydatetime(), noon.to_pydatetime() + timedelta(hours=4))
    late = training_frame(home("delayed", change=delayed), case_rows)
    assert_same(late, training_frame(home("deleted", change=deleted), case_rows))
    in_time = training_frame(world, case_rows)
    assert (in_time[NUMBERS].fillna(-1) != late[NUMBERS].fillna(-1)).any(axis=1).mean() > 0.5
    after = cases(world, noon + timedelta(hours=5), noon + timedelta(hours=6))
    known = training_frame(home("delayed_again", change=delayed), after)
    never = training_frame(home("deleted_again", change=deleted), after)
    assert (known[NUMBERS].fillna(-1) != never[NUMBERS].fillna(-1)).any(axis=None)


def test_online_equals_offline_when_rows_are_restated(home: Home) -> None:
    settings = home("restated", change=restated)
    start = datetime(2013, 1, 5, tzinfo=UTC)
    case_rows = cases(settings, start, start + timedelta(days=2))
    assert case_rows["key"].is_unique
    seen = training_frame(settings, case_rows)
    assert_same(online_rows(settings, case_rows), seen)
    plain = training_frame(home("plain"), case_rows)
    moved = (seen[NUMBERS].fillna(-1) != plain[NUMBERS].fillna(-1)).any(axis=1)
    assert moved.mean() > 0.5, "the restatements had no effect, so this test shows nothing"


def test_the_online_store_follows_replaced_tables(home: Home) -> None:
    settings = home("replaced")
    moment = datetime(2013, 1, 7, 12, tzinfo=UTC)
    publish_features(settings, moment)
    case_rows = cases(settings, moment, moment + timedelta(hours=1)).assign(
        decision_time=pd.Timestamp(moment)
    )
    before = online_frame(settings, case_rows, moment)
    place = partitions.partition_path(
        settings.data, "validated", USE_CASE.label_feed, date(2013, 1, 7)
    )
    rows = pd.read_parquet(place)
    partitions.write_partition(rows.assign(arr_delay=rows["arr_delay"] + 45), place)
    build_tables(settings, FIRST, END, LAG)
    publish_features(settings, moment + timedelta(seconds=1))
    after = online_frame(settings, case_rows, moment)
    assert_same(after, training_frame(settings, case_rows))
    assert (before[NUMBERS].fillna(-1) != after[NUMBERS].fillna(-1)).any(axis=1).mean() > 0.9


def online_frame(settings: Settings, case_rows: pd.DataFrame, moment: datetime) -> pd.DataFrame:
    rows = OnlineReader(settings).read(case_rows.to_dict("records"), [moment] * len(case_rows))
    return pd.DataFrame([row.values for row in rows]).astype(dict.fromkeys(NUMBERS, "float64"))


def test_later_statements_change_no_feature(home: Home) -> None:
    """The oracle deletes all rows known after the decision, and rebuilds the tables."""
    settings = home("restated", change=restated)
    params = shipped_params() | {"first_day": FIRST}
    settings.params_file.write_text(yaml.safe_dump(params))
    for hours in (53, 131, 199):
        moment = datetime(2013, 1, 1, tzinfo=UTC) + timedelta(hours=hours)
        case_rows = cases(settings, moment, moment + timedelta(hours=2))
        for at in sorted(set(case_rows["decision_time"]))[::9]:
            some = case_rows[case_rows["decision_time"] == at].reset_index(drop=True)
            past = skew_checks.recompute_without_future(settings, some, at.to_pydatetime())
            assert_same(past, training_frame(settings, some))


def test_daily_builds_and_one_build_give_the_same_bytes(home: Home) -> None:
    at_once = home("at_once")
    by_day = home("by_day")
    for part in (by_day.data / "features").rglob("*.parquet"):
        part.unlink()
    for number in range(1, DAYS + 1):
        build_tables(by_day, FIRST, datetime(2013, 1, 1 + number, tzinfo=UTC), LAG)
    assert digests(by_day.data / "features") == digests(at_once.data / "features")


def digests(folder: Path) -> dict[str, str]:
    found = {
        str(part.relative_to(folder)): hashlib.sha256(part.read_bytes()).hexdigest()
        for part in sorted(folder.rglob("*.parquet"))
    }
    assert found
    return found
