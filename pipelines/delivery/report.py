"""May this change go on? Measured on a slice, judged by the gates, and set beside main.

`make report` runs it. Exit code 1 if no candidate passes, the refit is refused, a candidate that
passed on main is refused now, or the winner is worse than main's by more than the gates allow.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features import durable_files
from pipelines.delivery import measurement, report_markdown
from pipelines.evaluation.formatting import describe_refusal
from pipelines.evaluation.gates import candidate_gates, verdict
from settings import LoopError

ChangeReport = Mapping[str, Any]
COMPARISON_GATES = (candidate_gates.not_worse_than_the_champion, candidate_gates.log_loss_holds)


def compare_with_main(
    head: ChangeReport, base: ChangeReport, ours: pd.DataFrame, theirs: pd.DataFrame
) -> list[dict[str, Any]]:
    """The verdicts on our winner with main's winner in the champion's place, on common cases.

    Both have seen the same days and not the holdout, so it is what a champion is compared on.
    `ours` and `theirs` are the predictions. Empty if one side has no winner.
    """
    if head["winner"] is None or base["winner"] is None:
        return []
    champion = theirs[["key", base["winner"]]].rename(columns={base["winner"]: "champion"})
    both = ours.merge(champion, on="key", validate="1:1")
    evidence = candidate_gates.GateInputs(
        frame=both, candidate=both[head["winner"]].to_numpy(), baseline=both["baseline"].to_numpy(),
        champion=both["champion"].to_numpy(), predict=_not_asked, slices={}, manifest={},
        costs=head["params"]["costs"], seed=head["params"]["seed"],
    )  # fmt: skip
    found = verdict.run_gates(evidence, head["params"]["gates"], COMPARISON_GATES)
    return [each.as_dict() | {"n_cases": len(both)} for each in found]


def _not_asked(rows: pd.DataFrame) -> np.ndarray:
    """Two commits are compared by their scores alone; a gate that asks the model has failed."""
    raise LoopError("No model is at hand here: only gates that compare scores can run.")


def refusal_reasons(
    head: ChangeReport, base: ChangeReport | None, paired: list[dict[str, Any]]
) -> list[str]:
    """Why the change may not go on, one sentence each; empty if it may."""
    reasons = []
    for name, verdicts in head["verdicts"].items():
        before = base is not None and candidate_passed(base, name)
        if head["winner"] is None or before:
            told = f"{name}, which passes on main," if before else name
            reasons += [f"{told} is refused by {each}." for each in _refused(verdicts)]
    if head["winner"] is None:
        return ["No candidate passes every gate.", *reasons]
    refit = f"the refit of {head['winner']}"
    reasons += [f"{refit} is refused by {each}." for each in _refused(head["artefact"])]
    if base is not None:
        pair = f"{head['winner']}, with main's {base['winner']} in the champion's place,"
        reasons += [f"{pair} is refused by {each}." for each in _refused(paired)]
    return reasons


def candidate_passed(report: ChangeReport, candidate: str) -> bool:
    return candidate in report["verdicts"] and not _refused(report["verdicts"][candidate])


def _refused(verdicts: list[dict[str, Any]]) -> list[str]:
    return [describe_refusal(each) for each in verdicts if not each["passed"]]


def read_or_measure(asked: str, folder: Path, slice_file: Path) -> measurement.Measurement:
    """The report in the folder of that name, or of the commit, measured into `folder`."""
    given = Path(asked)
    if given.is_file() or (given / "report.json").exists():
        return measurement.read_measurement(given.parent if given.is_file() else given)
    print(f"Measuring {asked} ...", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    measurement.measure_commit(asked, folder, slice_file)
    return measurement.read_measurement(folder)


def write_change_report(
    out: Path, head: measurement.Measurement, base: measurement.Measurement | None
) -> list[str]:
    """Writes `report.md` and `report.json` to `out`; returns why the change may not go on."""
    paired = []
    if base is not None:
        paired = compare_with_main(head.report, base.report, head.predictions, base.predictions)
    main = base.report if base else None
    reasons = refusal_reasons(head.report, main, paired)
    found = {**head.report, "refused": reasons, "against_main": paired}
    out.mkdir(parents=True, exist_ok=True)
    durable_files.write_file(out / "report.md", report_markdown.render_change_report(found, main))
    durable_files.write_json(out / "report.json", found)
    return reasons


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make report", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for report.md, report.json")
    parser.add_argument("--base", help="to compare with: a commit, or the folder of its report")
    parser.add_argument("--head", type=Path, help="folder of a report; else this is measured")
    parser.add_argument(
        "--slice", type=Path, default=measurement.SLICE_FILE, help="parameters to change"
    )
    asked = parser.parse_args(arguments)
    try:
        # Read before anything is written: it may be the report that this one replaces.
        base = read_or_measure(asked.base, asked.out / "base", asked.slice) if asked.base else None
        if asked.head is None:
            print("Measuring this checkout ...", flush=True)
            measurement.measure_checkout(asked.out, asked.slice)
        reasons = write_change_report(
            asked.out, measurement.read_measurement(asked.head or asked.out), base
        )
    except LoopError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{'Refused.' if reasons else 'Accepted.'} The report: {asked.out / 'report.md'}")
    print("".join(f"  {reason}\n" for reason in reasons), end="", file=sys.stderr)
    return 1 if reasons else 0


if __name__ == "__main__":
    sys.exit(main())
