"""The report on a change (`make report`): measured on a slice, gated, and compared with main.

The exit code is 1 if no candidate passes, the refit is refused, a candidate that passed on main is
refused now, or the winner is worse than main's winner by more than the gates allow.
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from features import durable_files
from pipelines.delivery import measurement, report_markdown
from pipelines.delivery.report_markdown import ChangeReport
from pipelines.evaluation.formatting import describe_refusal
from pipelines.evaluation.gates import champion_and_baseline, verdict
from settings import LoopError, Settings

COMPARISON_GATES = (
    champion_and_baseline.not_worse_than_the_champion,
    champion_and_baseline.log_loss_holds,
)


def compare_with_main(
    head: measurement.Measurement, base: measurement.Measurement
) -> list[dict[str, Any]]:
    """Return the verdicts on our winner, with main's winner as the champion, on common cases.

    Both trained on the same days and not on the holdout, as a candidate and a champion do.
    Return no verdict if one side has no winner.
    """
    winner, champion = head.report["winner"], base.report["winner"]
    if winner is None or champion is None:
        return []
    theirs = base.predictions[["key", champion]].rename(columns={champion: "champion"})
    both, params = head.predictions.merge(theirs, on="key", validate="1:1"), head.report["params"]
    inputs = verdict.GateInputs(
        frame=both, candidate=both[winner].to_numpy(), baseline=both["baseline"].to_numpy(),
        champion=both["champion"].to_numpy(), predict=_refuse_to_predict, slices={}, manifest={},
        costs=params["costs"], seed=params["seed"], behaviours=_refuse_to_predict,
    )  # fmt: skip
    verdicts = verdict.run_gates(inputs, params["gates"], COMPARISON_GATES)
    return [each | {"n_cases": len(both)} for each in verdicts]


def _refuse_to_predict(*_: object) -> Any:
    """Fail a gate that calls the model: two commits are compared by their scores only."""
    raise LoopError("This comparison has no model. Only gates that compare scores can run.")


def refusal_reasons(
    head: ChangeReport, base: ChangeReport | None, paired: list[dict[str, Any]]
) -> list[str]:
    """Return the reasons to refuse the change, one sentence each; empty if it is accepted."""
    winner, judged = head["winner"], []
    for name, verdicts in head["verdicts"].items():
        on_main = base["verdicts"].get(name) if base else None
        if on_main and all(each["passed"] for each in on_main):
            judged.append((f"{name}, which passes on main,", verdicts))
        elif winner is None:
            judged.append((name, verdicts))
    if winner is not None:
        judged.append((f"the refit of {winner}", head["artefact"]))
    if paired and base:
        judged.append((f"{winner}, with main's {base['winner']} as the champion,", paired))
    reasons = [
        f"{subject} is refused by {describe_refusal(each)}."
        for subject, verdicts in judged
        for each in verdicts
        if not each["passed"]
    ]
    return reasons if winner is not None else ["No candidate passes every gate.", *reasons]


def read_or_measure(name: str, folder: Path, slice_file: Path) -> measurement.Measurement:
    """Return the report in the folder `name`; else measure the commit `name` into `folder`."""
    path = Path(name)
    if path.is_file() or (path / "report.json").exists():
        folder = path.parent if path.is_file() else path
    else:
        print(f"Measuring {name} ...", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        measurement.measure_commit(name, folder, slice_file)
    return measurement.read_measurement(folder)


def write_change_report(
    out: Path, head: measurement.Measurement, base: measurement.Measurement | None
) -> list[str]:
    """Write `report.md` and `report.json` to `out`; return the reasons to refuse the change."""
    paired = compare_with_main(head, base) if base else []
    main = base.report if base else None
    reasons = refusal_reasons(head.report, main, paired)
    report = {**head.report, "refused": reasons, "against_main": paired}
    out.mkdir(parents=True, exist_ok=True)
    durable_files.write_file(out / "report.md", report_markdown.render_change_report(report, main))
    durable_files.write_json(out / "report.json", report)
    return reasons


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make report", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for report.md, report.json")
    parser.add_argument("--base", help="commit to compare with, or the folder of its report")
    parser.add_argument("--head", type=Path, help="folder of a report, instead of this checkout")
    parser.add_argument(
        "--slice",
        type=Path,
        help="differences from params.yaml; default: slice.yaml of the use case",
    )
    options = parser.parse_args(arguments)
    base = None
    try:
        options.slice = options.slice or Settings().use_case.folder / "slice.yaml"
        if options.base:  # first: it may be the report that this one replaces
            base = read_or_measure(options.base, options.out / "base", options.slice)
        if options.head is None:
            print("Measuring this checkout ...", flush=True)
            measurement.measure_checkout(options.out, options.slice)
        head = measurement.read_measurement(options.head or options.out)
        reasons = write_change_report(options.out, head, base)
    except LoopError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{'Refused.' if reasons else 'Accepted.'} Report: {options.out / 'report.md'}")
    print("".join(f"  {reason}\n" for reason in reasons), end="", file=sys.stderr)
    return 1 if reasons else 0
