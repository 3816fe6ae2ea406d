"""Which candidates must be refused, and by which gate? And which must pass them all?"""

from __future__ import annotations

from pipelines.evaluation.gates.verdict import Verdict
from pipelines.proofs import bad_candidates, bad_refits, bad_sources, use_case_faults
from pipelines.proofs.base_training import Ground
from pipelines.proofs.gate_case import Case, candidate, made_from, refit

SEEDS = range(5)


def healthy(seed: int) -> Case:
    def made(ground: Ground) -> list[Verdict]:
        ground = ground.reseeded(ground.seed + seed)
        found = candidate(ground, ground.evidence(ground.healthy))
        found += refit(ground, ground.artefact(ground.fit(ground.frame), f"healthy-{seed}"))
        # Of the same data each time, so that two samples of them are enough.
        return found + (made_from(ground, ground.sources()) if seed < 2 else [])

    return Case(f"healthy, seed {seed}", None, made)


BAD = (*bad_candidates.CASES, *bad_refits.CASES, *bad_sources.CASES, *use_case_faults.CASES)


def all_cases() -> list[Case]:
    """The bad ones first; the order is that of the table."""
    return [*BAD, *map(healthy, SEEDS)]
