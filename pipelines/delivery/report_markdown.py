"""The report on a change in Markdown, as a pull request shows it."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pipelines.evaluation.formatting import format_limit, format_number, markdown_table, render_text

ChangeReport = Mapping[str, Any]
GateVerdicts = Sequence[Mapping[str, Any]]
NO_BASE: ChangeReport = {"measured": {}, "verdicts": {}, "artefact": []}


def render_change_report(head: ChangeReport, base: ChangeReport | None) -> str:
    """Return the report on `head` (with `refused` and `against_main`), compared with `base`."""
    main = base or NO_BASE
    gates = [
        {"candidate": name, **row}
        for name, verdicts in head["verdicts"].items()
        for row in _gate_rows(verdicts, main["verdicts"].get(name, []))
    ]
    return render_text(
        "pipelines/delivery/change_report.md.j2", head=head, base=base, gates=gates,
        metrics=[_metrics(head, main, name) for name in head["measured"]],
        refit=_gate_rows(head["artefact"], main["artefact"]),
        paired=_gate_rows(head["against_main"]),
        changed=changed_rules(head, base) if base else [], table=_table, number=format_number,
    )  # fmt: skip


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    """Return a table with the rows' names as heads; empty without rows."""
    return markdown_table(list(rows[0]), [list(row.values()) for row in rows]) if rows else ""


def _metrics(head: ChangeReport, main: ChangeReport, model: str) -> dict[str, str]:
    """Return the model's row. In brackets: the difference to main's model of the same name."""
    before, row = main["measured"].get(model, {}), {"model": model}
    for name, value in head["measured"][model].items():
        change = f" ({format_number(value - before[name], sign=True)})" if name in before else ""
        row[name.replace("_", " ")] = format_number(value) + change
    return row


def _gate_rows(
    verdicts: GateVerdicts, main_verdicts: GateVerdicts | None = None
) -> list[dict[str, str]]:
    """Return a row for each verdict; with `main_verdicts`, beside main's of the same gate."""
    main = {each["gate"]: each for each in main_verdicts or ()}
    rows = []
    for each in verdicts:
        before = main.get(each["gate"])
        on_main = ratio = "–"
        if before is not None:
            on_main = format_number(before["value"]) + ("" if before["passed"] else " (refused)")
            if before["value"] and each["value"] is not None:
                ratio = f"× {each['value'] / before['value']:.2f}"
        row = {
            "gate": each["gate"], "": "passed" if each["passed"] else "**REFUSED**",
            "value": format_number(each["value"]), "limit": format_limit(each),
            "margin": format_number(each["margin"], sign=True),
        }  # fmt: skip
        if main_verdicts is not None:
            row |= {"on main": on_main, "ratio": ratio}
        rows.append(row | {"what was measured": each["told"]})
    return rows


def changed_rules(head: ChangeReport, base: ChangeReport) -> list[str]:
    """Return the parameters, candidates and gates that the change altered."""
    ours, theirs = (_rules(report) for report in (head, base))
    return [
        f"{name}: {theirs.get(name, 'absent')} on main, {ours.get(name, 'absent')} now"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]


def _rules(report: ChangeReport) -> dict[str, Any]:
    """Return the parameters as `a.b.c: value`, and each candidate and gate."""
    gates = {each["gate"] for verdicts in report["verdicts"].values() for each in verdicts}
    [params] = pd.json_normalize(report["params"]).to_dict("records")
    return {
        **params,
        **{f"candidate {name}": "present" for name in report["verdicts"]},
        **{f"gate {name}": "present" for name in gates},
    }
