"""Is a proof refused that proves nothing, and do real bad candidates meet their gates?

On a slice of days, with the limits that so few days can keep: `make prove` runs every case on the
shipped months, with the shipped limits.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.evaluation.gates.verdict import Verdict
from pipelines.proofs import base_training, case_catalogue, gate_proofs
from settings import Settings, UserError

OWN = Verdict("calibrated", False, 0.2, 0.1, "off")
OTHER = Verdict("fast enough", False, 9.0, 5.0, "slow")
BROKEN = Verdict("calibrated", False, None, None, "could not run: KeyError")
GOOD = Verdict("calibrated", True, 0.0, 0.1, "right")
# Each of another part of the way to a release; the long ones build tables or stores anew.
QUICK = (
    "labels of three days ago", "cases twice", "leaked label", "tampered with after evaluation",
    "not refitted", "data of another md5",
)  # fmt: skip
LONG = (
    "a lost publication", "healthy, seed 0",
    *(each.told for each in case_catalogue.BAD_CASES if each.gate == "known at the decision"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("gate", "verdicts", "holds"),
    [
        ("calibrated", [OWN], True),
        ("calibrated", [OTHER, OWN], True),
        ("calibrated", [GOOD], False),
        ("calibrated", [OTHER], False),
        ("calibrated", [BROKEN], False),
        ("calibrated", [], False),
        (None, [GOOD], True),
        (None, [GOOD, OTHER], False),
        (None, [BROKEN], False),
        (None, [], False),
    ],
)
def test_only_its_own_gate_proves_a_case(
    gate: str | None, verdicts: list[Verdict], holds: bool
) -> None:
    proof = gate_proofs.build_gate_proof("a case", gate, verdicts, 1.0)
    assert proof.holds is holds
    assert proof.refused == [each.gate for each in verdicts if not each.passed]


def test_every_gate_has_a_case_and_every_case_a_gate() -> None:
    every = case_catalogue.all_cases()
    named = [gate_proofs.GateProof(case.told, case.gate, [], "", True, 0.0) for case in every]
    assert gate_proofs.list_unproven_gates(named) == []
    assert "calibrated" in gate_proofs.list_unproven_gates(
        [each for each in named if each.gate is None]
    )
    assert len({case.told for case in every}) == len(every)
    assert sum(case.gate is None for case in every) >= 5
    assert {*QUICK, *LONG} <= {case.told for case in every}


def test_a_failed_proof_stands_on_the_page_and_is_not_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [gate_proofs.build_gate_proof("<b>a case", "calibrated", [OTHER], 1.0)]
    gate_proofs.write_gate_proofs_page(tmp_path / "prove.html", found)
    page = (tmp_path / "prove.html").read_text()
    assert "✗ not proven" in page
    assert "&lt;b&gt;a case" in page
    assert "gate without a case: signature fits" in page
    assert gate_proofs.print_gate_proofs(found) is False
    assert "NOT PROVEN" in capsys.readouterr().out


def test_a_case_that_does_not_exist_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No case is told by 'nonsense'"):
        gate_proofs.prove_gates(Settings(home=tmp_path), "nonsense")


@pytest.mark.parametrize(
    "told", [*QUICK, *(pytest.param(told, marks=pytest.mark.long) for told in LONG)]
)
def test_real_case(slice_of_days: base_training.BaseTraining, told: str) -> None:
    [case] = [each for each in case_catalogue.all_cases() if each.told == told]
    proof = gate_proofs.build_gate_proof(told, case.gate, case.made(slice_of_days), 0.0)
    assert proof.holds, proof
