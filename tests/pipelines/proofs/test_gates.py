"""Proofs of the gates: what counts as a proof, and real bad candidates on a few days.

The limits are those that so few days can meet. `make prove` runs every case on the shipped months
with the shipped limits.
"""

from pathlib import Path
from typing import Any

import pytest

from pipelines.proofs import gate_proofs, proof_runs
from pipelines.proofs.base_training import BaseTraining, GateCase
from settings import Settings, UserError
from tests.use_case import USE_CASE

Stored = dict[str, Any]
OWN = {"gate": "calibrated", "passed": False, "value": 0.2, "limit": 0.1, "told": "off"}
OTHER = {"gate": "fast enough", "passed": False, "value": 9.0, "limit": 5.0, "told": "slow"}
BROKEN = OWN | {"value": None, "limit": None, "told": "could not run: KeyError"}
GOOD = OWN | {"passed": True, "value": 0.0, "told": "right"}
CASES = gate_proofs.gate_cases(USE_CASE)
# One of each kind; the long ones rebuild tables or stores.
QUICK = (
    "labels of three days ago", "cases twice", "leaked label", "tampered with after evaluation",
    "not refitted", "data of another md5",
)  # fmt: skip
LONG = (
    "a lost publication", "healthy, seed 0",
    *(each.name for each in CASES if each.gate == "known at the decision"),
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
    gate: str | None, verdicts: list[Stored], holds: bool
) -> None:
    proof = gate_proofs.build_gate_proof(GateCase("a case", gate, lambda _: iter(())), verdicts, 1)
    assert proof.holds is holds
    assert [each["gate"] for each in verdicts if each["gate"] in proof.actual] == [
        each["gate"] for each in verdicts if not each["passed"]
    ]


def test_every_gate_has_a_case_and_every_case_a_gate() -> None:
    assert gate_proofs.unproven_gates({str(case.gate) for case in CASES}) == []
    assert "calibrated" in gate_proofs.unproven_gates({"none"})
    assert len({case.name for case in CASES}) == len(CASES)
    assert sum(case.gate is None for case in CASES) >= 5
    assert {*QUICK, *LONG} <= {case.name for case in CASES}


def test_a_failed_proof_is_on_the_page_and_fails_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = GateCase("<b>a case", "calibrated", lambda _: iter(()))
    proofs = [gate_proofs.build_gate_proof(case, [OTHER], 1.0)]
    assert proof_runs.report_proofs(proofs, "Proofs of gates", tmp_path / "prove.html") is False
    page = (tmp_path / "prove.html").read_text()
    assert "1 cases, 1 failed" in page
    assert "✗ not proven" in page
    assert "&lt;b&gt;a case" in page
    assert "NOT PROVEN" in capsys.readouterr().out


def test_a_gate_that_no_case_proves_is_a_failed_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven = proof_runs.Proof("a case", "calibrated", True, "", "", "")
    monkeypatch.setattr(proof_runs, "run_in_processes", lambda *_: iter([proven]))
    proofs = list(gate_proofs.prove_gates(Settings(home=tmp_path)))
    failed = [each.name for each in proofs if not each.holds]
    assert "gate without a case: signature fits" in failed
    assert "gate without a case: calibrated" not in failed
    assert list(gate_proofs.prove_gates(Settings(home=tmp_path), "healthy")) == [proven]


def test_no_proof_at_all_is_a_failure() -> None:
    assert proof_runs.report_proofs([], "Proofs of nothing") is False


def test_an_unknown_case_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No case contains 'nonsense'"):
        list(gate_proofs.prove_gates(Settings(home=tmp_path), "nonsense"))


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.long) for name in LONG)]
)
def test_real_case(slice_of_days: BaseTraining, name: str) -> None:
    [case] = [each for each in CASES if each.name == name]
    proof = gate_proofs.build_gate_proof(case, gate_proofs.judge_case(case, slice_of_days), 0.0)
    assert proof.holds, proof
