"""Which candidates must be refused, and by which gate? And which must pass them all?"""

from __future__ import annotations

from pipelines.evaluation.gates.verdict import Verdict
from pipelines.proofs import bad_candidates, bad_refits, bad_sources, use_case_faults
from pipelines.proofs.base_training import BaseTraining
from pipelines.proofs.gate_case import GateCase, judge_candidate, judge_refit, judge_sources

HEALTHY_SEEDS = range(5)


def healthy_case(seed: int) -> GateCase:
    def made(ground: BaseTraining) -> list[Verdict]:
        ground = ground.reseeded(ground.seed + seed)
        found = judge_candidate(ground, ground.evidence(ground.healthy))
        found += judge_refit(ground, ground.artefact(ground.fit(ground.frame), f"healthy-{seed}"))
        # Of the same data each time, so that two samples of them are enough.
        return found + (judge_sources(ground, ground.sources()) if seed < 2 else [])

    return GateCase(f"healthy, seed {seed}", None, made)


BAD_CASES = (
    *bad_candidates.BAD_CANDIDATES,
    *bad_refits.BAD_REFITS,
    *bad_sources.BAD_SOURCES,
    *use_case_faults.USE_CASE_FAULTS,
)


def all_cases() -> list[GateCase]:
    """The bad ones first; the order is that of the table."""
    return [*BAD_CASES, *map(healthy_case, HEALTHY_SEEDS)]
