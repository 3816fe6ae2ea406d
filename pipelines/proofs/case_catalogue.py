"""All cases of the gate proofs: bad ones with their gate, and healthy ones of several seeds."""

from __future__ import annotations

from pipelines.evaluation.gates.verdict import Verdict
from pipelines.proofs import bad_candidates, bad_refits, bad_sources, use_case_faults
from pipelines.proofs.base_training import BaseTraining
from pipelines.proofs.gate_case import GateCase, judge_candidate, judge_refit, judge_sources

HEALTHY_SEEDS = range(5)


def healthy_case(seed: int) -> GateCase:
    def run(training: BaseTraining) -> list[Verdict]:
        training = training.with_seed(training.seed + seed)
        verdicts = judge_candidate(training, training.gate_inputs(training.healthy))
        verdicts += judge_refit(
            training, training.refit_model(training.fit(training.frame), f"healthy-{seed}")
        )
        # The sources have the same data for each seed, so two checks are enough.
        return verdicts + (judge_sources(training, training.training_sources()) if seed < 2 else [])

    return GateCase(f"healthy, seed {seed}", None, run)


BAD_CASES = (
    *bad_candidates.BAD_CANDIDATES,
    *bad_refits.BAD_REFITS,
    *bad_sources.BAD_SOURCES,
    *use_case_faults.USE_CASE_FAULTS,
)


def all_cases() -> list[GateCase]:
    """Return all cases in the order of the table, bad ones first."""
    return [*BAD_CASES, *map(healthy_case, HEALTHY_SEEDS)]
