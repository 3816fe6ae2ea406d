"""Proofs of monitoring: each fault in a feed is noticed in time, with the right reaction.

Real faults run in real batches through the real steps. Benign changes must raise no alarm.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from contract import FeedFault
from pipelines.proofs import proof_runs
from pipelines.proofs.base_training import read_base_training
from pipelines.proofs.fault_simulation import FaultOutcome, simulate_fault
from pipelines.proofs.proof_runs import Proof
from settings import Settings


def prove_monitoring(settings: Settings, only: str | None = None) -> Iterator[Proof]:
    """Run each fault whose name contains `only`, in its own home.

    Raises `UserError` if there is no such fault.
    """
    numbers = proof_runs.choose_cases(
        [fault.description for fault in settings.use_case.feed_faults()], only
    )
    yield from proof_runs.run_in_processes(_prove_fault, settings, numbers)


def _prove_fault(home: Path, number: int) -> Proof:
    training = read_base_training(home)
    fault = training.settings.use_case.feed_faults()[number]
    return build_fault_proof(fault, simulate_fault(training, fault))


def build_fault_proof(fault: FeedFault, outcome: FaultOutcome) -> Proof:
    """Return the proof: the right watcher (or none) noticed in time, with the right reaction."""
    notices = outcome.notices
    if outcome.refused:
        reaction = "refuse"
    elif outcome.retrained:
        reaction = "retrain"
    else:
        reaction = "alarm" if notices else "nothing"
    expected, in_time, after = f"{fault.watcher}, {fault.reaction}", not notices, "–"
    if fault.watcher != "none":
        expected += f", within {fault.hours:g} h"
        own = [n for n in notices if n.watcher == fault.watcher and n.at > outcome.began]
        in_time = bool(own) and own[0].at - outcome.began <= timedelta(hours=fault.hours)
        if own:
            hours = (own[0].at - outcome.began) / timedelta(hours=1)
            n_cases = outcome.decision_times.between(outcome.began, own[0].at, "left").sum()
            after, notices = f"{hours:g} h, {n_cases:,} cases", own
    watchers = ", ".join(dict.fromkeys(each.watcher for each in outcome.notices)) or "none"
    return Proof(
        fault.description, expected, in_time and reaction == fault.reaction,
        f"{watchers}: {reaction}", after, fault.why or (notices[0].text if notices else ""),
    )  # fmt: skip
