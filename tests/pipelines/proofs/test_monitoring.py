"""Proofs of monitoring: what counts as a proof, and real faults on a few days.

`mlops prove --monitoring` runs every fault on the shipped months with the shipped limits.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from contract import FeedFault
from pipelines.proofs import monitoring_proofs, proof_runs
from pipelines.proofs.base_training import BaseTraining
from pipelines.proofs.fault_simulation import FaultOutcome, Notice, simulate_fault
from settings import Settings, UserError
from tests.use_case import USE_CASE

EVERY = USE_CASE.feed_faults()
HARMLESS = next(each for each in EVERY if each.reaction == "nothing" and not each.why)
BEGAN = datetime(2013, 4, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)
EVERY_HOUR = pd.Series(pd.date_range(BEGAN - 10 * HOUR, periods=100, freq="h"))


def fault(watcher: str = "validation", reaction: str = "refuse", hours: float = 24) -> FeedFault:
    return FeedFault("a fault", watcher, reaction, hours, EVERY[0].change)


def outcome(
    *notices: tuple[str, float], refused: bool = False, retrained: bool = False
) -> FaultOutcome:
    found = [Notice(watcher, BEGAN + after * HOUR, "text") for watcher, after in notices]
    return FaultOutcome(BEGAN, found, refused, retrained, EVERY_HOUR)


REFUSED = outcome(("validation", 24), refused=True)


@pytest.mark.parametrize(
    ("expected", "happened", "holds"),
    [
        (fault(), REFUSED, True),
        (fault(hours=23), REFUSED, False),
        (fault(reaction="alarm"), REFUSED, False),
        (fault(), outcome(("validation", 24)), False),
        (fault(), outcome(), False),
        (fault("labels", "alarm", 48), outcome(("drift", 20), ("labels", 48)), True),
        (fault("labels", "alarm", 48), outcome(("drift", 20)), False),
        (fault("labels", "alarm", 48), outcome(("labels", -24)), False),
        (fault("labels", "alarm", 48), outcome(("labels", 40), retrained=True), False),
        (fault("performance", "retrain", 99), outcome(("performance", 40), retrained=True), True),
        (fault("performance", "retrain", 99), outcome(("performance", 40)), False),
        (fault("none", "nothing"), outcome(), True),
        (fault("none", "nothing"), outcome(("drift", 20)), False),
        (fault("none", "alarm"), outcome(("drift", 20)), False),
    ],
)
def test_a_proof_needs_the_right_watcher_in_time_and_the_right_reaction(
    expected: FeedFault, happened: FaultOutcome, holds: bool
) -> None:
    assert monitoring_proofs.build_fault_proof(expected, happened).holds is holds


def test_hours_and_cases_until_the_notice_are_counted() -> None:
    proof = monitoring_proofs.build_fault_proof(fault(), REFUSED)
    assert proof.after == "24 h, 24 cases"


def test_a_failed_proof_is_on_the_page_and_fails_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = monitoring_proofs.build_fault_proof(fault(), REFUSED)
    bad = monitoring_proofs.build_fault_proof(fault()._replace(description="<b>missed"), outcome())
    title = "Proofs of monitoring"
    assert not proof_runs.report_proofs([good, bad], title, tmp_path / "page.html")
    assert "NOT PROVEN" in capsys.readouterr().out
    page = (tmp_path / "page.html").read_text()
    assert "2 cases, 1 failed" in page
    assert "&lt;b&gt;missed" in page
    assert proof_runs.report_proofs([good], title)


def test_an_unknown_fault_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No case contains 'nonsense'"):
        list(monitoring_proofs.prove_monitoring(Settings(home=tmp_path), "nonsense"))


def first_fault(watcher: str) -> FeedFault:
    return next(each for each in EVERY if each.watcher == watcher)._replace(begins=1, days=3)


@pytest.mark.parametrize("watcher", ["validation", "freshness"])
def test_a_real_fault_is_refused_or_stops_the_feed(
    slice_of_days: BaseTraining, watcher: str
) -> None:
    proof = monitoring_proofs.build_fault_proof(
        first_fault(watcher), simulate_fault(slice_of_days, first_fault(watcher))
    )
    assert proof.holds, proof


def test_only_late_labels_of_a_slice_are_noticed(slice_of_days: BaseTraining) -> None:
    late = first_fault("labels")._replace(days=5)
    noticed = simulate_fault(slice_of_days, late)
    proof = monitoring_proofs.build_fault_proof(late, noticed)
    assert proof.after != "–", proof
    first = next(each for each in noticed.notices if each.watcher == "labels")
    assert first.at - noticed.began <= timedelta(hours=late.hours)
    healthy = late._replace(description=HARMLESS.description, change=HARMLESS.change)
    assert "labels" not in {each.watcher for each in simulate_fault(slice_of_days, healthy).notices}
