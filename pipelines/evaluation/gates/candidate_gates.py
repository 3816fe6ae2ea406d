"""The gates on a candidate, in order. Pure functions; a gate that raises counts as failed."""

from collections.abc import Callable

from pipelines.evaluation.gates import champion_and_baseline as compared
from pipelines.evaluation.gates import soundness
from pipelines.evaluation.gates.verdict import GateInputs, Limits, Verdict

CANDIDATE_GATES: tuple[Callable[[GateInputs, Limits], Verdict], ...] = (
    soundness.data_is_sound,
    soundness.data_is_valid,
    compared.beats_the_baseline,
    compared.not_worse_than_the_champion,
    compared.log_loss_holds,
    compared.no_slice_worse_than_the_champion,
    compared.no_slice_left_in_doubt,
    soundness.calibrated,
    soundness.calibrated_in_slices,
    soundness.slices_hold,
    soundness.errors_are_even,
    soundness.not_too_good_to_be_true,
    soundness.no_column_too_good,
    soundness.no_value_tells,
    soundness.behaves,
)
