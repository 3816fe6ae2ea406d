"""Is a fault that nobody notices a failure, and is one of each kind noticed on a slice of days?

`mlops prove --monitoring` runs every fault on the shipped months, with the shipped limits.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from pipelines.proofs import base_training, fault_simulation, monitoring_proofs
from pipelines.proofs.fault_simulation import FaultOutcome, Notice
from settings import Settings, UserError
from usecase.feed_faults import BENIGN, FAULTS, FeedFault

BEGAN = datetime(2013, 4, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)
EVERY_HOUR = pd.Series(pd.date_range(BEGAN - 10 * HOUR, periods=100, freq="h"))


def fault(watcher: str = "validation", reaction: str = "refuse", hours: float = 24) -> FeedFault:
    return FeedFault("a fault", watcher, reaction, hours, FAULTS[0].change)


def came(
    *notices: tuple[str, float], refused: bool = False, retrained: bool = False
) -> FaultOutcome:
    told = [Notice(who, BEGAN + after * HOUR, "told") for who, after in notices]
    return FaultOutcome(BEGAN, told, refused, retrained, EVERY_HOUR)


REFUSED = came(("validation", 24), refused=True)


@pytest.mark.parametrize(
    ("asked", "found", "holds"),
    [
        (fault(), REFUSED, True),
        (fault(hours=23), REFUSED, False),
        (fault(reaction="alarm"), REFUSED, False),
        (fault(), came(("validation", 24)), False),
        (fault(), came(), False),
        (fault("labels", "alarm", 48), came(("drift", 20), ("labels", 48)), True),
        (fault("labels", "alarm", 48), came(("drift", 20)), False),
        (fault("labels", "alarm", 48), came(("labels", -24)), False),
        (fault("labels", "alarm", 48), came(("labels", 40), retrained=True), False),
        (fault("performance", "retrain", 99), came(("performance", 40), retrained=True), True),
        (fault("performance", "retrain", 99), came(("performance", 40)), False),
        (fault("none", "nothing"), came(), True),
        (fault("none", "nothing"), came(("drift", 20)), False),
        (fault("none", "alarm"), came(("drift", 20)), False),
    ],
)
def test_a_fault_is_proven_by_its_own_watcher_in_time_and_by_what_follows(
    asked: FeedFault, found: FaultOutcome, holds: bool
) -> None:
    assert monitoring_proofs.build_fault_proof(asked, found).holds is holds


def test_it_is_told_after_how_many_hours_and_cases() -> None:
    found = monitoring_proofs.build_fault_proof(fault(), REFUSED)
    assert (found.hours, found.cases) == (24, 24)


def test_a_failed_proof_stands_on_the_page_and_is_not_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = monitoring_proofs.build_fault_proof(fault(), REFUSED)
    bad = monitoring_proofs.build_fault_proof(fault()._replace(told="<b>missed"), came())
    monitoring_proofs.write_fault_proofs_page(tmp_path / "page.html", [good, bad])
    page = (tmp_path / "page.html").read_text()
    assert "2 cases, 1 failed" in page
    assert "&lt;b&gt;missed" in page
    assert monitoring_proofs.print_fault_proofs([good])
    assert not monitoring_proofs.print_fault_proofs([good, bad])
    assert "NOT PROVEN" in capsys.readouterr().out


def test_a_miss_that_is_accepted_says_why_and_every_fault_has_words_of_its_own() -> None:
    assert all(each.why for each in FAULTS if each.watcher == "none")
    every = monitoring_proofs.ALL_FAULTS
    assert len({each.told for each in every}) == len(every)
    assert {each.watcher for each in FAULTS} > {"validation", "freshness", "labels", "performance"}
    assert {(each.watcher, each.reaction) for each in BENIGN} == {("none", "nothing")}


def test_a_fault_that_does_not_exist_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No fault is told by 'nonsense'"):
        monitoring_proofs.prove_monitoring(Settings(home=tmp_path), "nonsense")


def first(watcher: str) -> FeedFault:
    return next(each for each in FAULTS if each.watcher == watcher)._replace(begins=1, days=3)


@pytest.mark.parametrize("watcher", ["validation", "freshness"])
def test_a_real_fault_is_refused_or_missed_as_a_feed(
    slice_of_days: base_training.BaseTraining, watcher: str
) -> None:
    found = monitoring_proofs.build_fault_proof(
        first(watcher), fault_simulation.simulate_fault(slice_of_days, first(watcher))
    )
    assert found.holds, found


def test_labels_that_are_late_in_a_slice_are_noticed_and_healthy_ones_are_not(
    slice_of_days: base_training.BaseTraining,
) -> None:
    late = first("labels")._replace(days=5)
    found = monitoring_proofs.build_fault_proof(
        late, fault_simulation.simulate_fault(slice_of_days, late)
    )
    assert found.hours is not None
    assert found.hours <= late.hours
    healthy = late._replace(told=BENIGN[0].told, change=BENIGN[0].change)
    assert "labels" not in {
        each.watcher for each in fault_simulation.simulate_fault(slice_of_days, healthy).notices
    }
