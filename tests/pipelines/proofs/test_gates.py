"""Proofs of the gates: what counts as a proof, and real bad candidates on a few days.

The limits are those that so few days can meet. `make prove` runs every case on the shipped months
with the shipped limits.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.evaluation.gates.verdict import Verdict
from pipelines.proofs import case_catalogue, gate_proofs
from pipelines.proofs.base_training import BaseTraining
from settings import Settings, UserError

OWN = Verdict(False, 0.2, 0.1, "off", code="calibrated")
OTHER = Verdict(False, 9.0, 5.0, "slow", code="fast_enough")
BROKEN = Verdict(False, None, None, "could not run: KeyError", code="calibrated")
GOOD = Verdict(True, 0.0, 0.1, "right", code="calibrated")
# One of each kind; the long ones rebuild tables or stores.
QUICK = (
    "labels of three days ago", "cases twice", "leaked label", "tampered with after evaluation",
    "not refitted", "data of another md5",
)  # fmt: skip
LONG = (
    "a lost publication", "healthy, seed 0",
    *(each.name for each in case_catalogue.BAD_CASES if each.gate == "known at the decision"),
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
    cases = case_catalogue.all_cases()
    proofs = [gate_proofs.GateProof(case.name, case.gate, [], "", True, 0.0) for case in cases]
    assert gate_proofs.list_unproven_gates(proofs) == []
    assert "calibrated" in gate_proofs.list_unproven_gates(
        [each for each in proofs if each.gate is None]
    )
    assert len({case.name for case in cases}) == len(cases)
    assert sum(case.gate is None for case in cases) >= 5
    assert {*QUICK, *LONG} <= {case.name for case in cases}


def test_a_failed_proof_is_on_the_page_and_fails_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proofs = [gate_proofs.build_gate_proof("<b>a case", "calibrated", [OTHER], 1.0)]
    gate_proofs.write_gate_proofs_page(tmp_path / "prove.html", proofs)
    page = (tmp_path / "prove.html").read_text()
    assert "✗ not proven" in page
    assert "&lt;b&gt;a case" in page
    assert "gate without a case: signature fits" in page
    assert gate_proofs.print_gate_proofs(proofs) is False
    assert "NOT PROVEN" in capsys.readouterr().out


def test_an_unknown_case_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No case contains 'nonsense'"):
        gate_proofs.prove_gates(Settings(home=tmp_path), "nonsense")


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.long) for name in LONG)]
)
def test_real_case(slice_of_days: BaseTraining, name: str) -> None:
    [case] = [each for each in case_catalogue.all_cases() if each.name == name]
    proof = gate_proofs.build_gate_proof(name, case.gate, case.run(slice_of_days), 0.0)
    assert proof.holds, proof
