"""The gates on a candidate, in order. Pure functions; a gate that raises counts as failed."""

from __future__ import annotations

from collections.abc import Callable

from pipelines.evaluation.gates.champion_and_baseline import (
    beats_the_baseline,
    log_loss_holds,
    no_slice_left_in_doubt,
    no_slice_worse_than_the_champion,
    not_worse_than_the_champion,
)
from pipelines.evaluation.gates.inputs import GateInputs
from pipelines.evaluation.gates.leaks import (
    no_column_too_good,
    no_value_tells,
    not_too_good_to_be_true,
)
from pipelines.evaluation.gates.soundness import (
    behaves,
    calibrated,
    calibrated_in_slices,
    data_is_sound,
    data_is_valid,
    errors_are_even,
    slices_hold,
)
from pipelines.evaluation.gates.verdict import Limits, Verdict

__all__ = [
    "CANDIDATE_GATES",
    "GateInputs",
    "beats_the_baseline",
    "behaves",
    "calibrated",
    "calibrated_in_slices",
    "data_is_sound",
    "data_is_valid",
    "errors_are_even",
    "log_loss_holds",
    "no_column_too_good",
    "no_slice_left_in_doubt",
    "no_slice_worse_than_the_champion",
    "no_value_tells",
    "not_too_good_to_be_true",
    "not_worse_than_the_champion",
    "slices_hold",
]

CANDIDATE_GATES: tuple[Callable[[GateInputs, Limits], Verdict], ...] = (
    data_is_sound, data_is_valid, beats_the_baseline, not_worse_than_the_champion,
    log_loss_holds, no_slice_worse_than_the_champion, no_slice_left_in_doubt, calibrated,
    calibrated_in_slices, slices_hold, errors_are_even, not_too_good_to_be_true,
    no_column_too_good, no_value_tells, behaves,
)  # fmt: skip
