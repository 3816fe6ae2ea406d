"""The report on a change in Markdown, as a pull request shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.evaluation.formatting import format_limit, format_number, markdown_table

ChangeReport = Mapping[str, Any]
GateVerdicts = Sequence[Mapping[str, Any]]


def render_change_report(head: ChangeReport, base: ChangeReport | None) -> str:
    """Return the report on `head` (with `refused` and `against_main`), compared with `base`."""
    manifest = head["manifest"]
    sections = [
        "# What this change does to the model", _outcome(head),
        f"Trained as of {manifest['as_of'][:16]} UTC on {manifest['n_train']:,} cases. Evaluated "
        f"on {manifest['n_holdout']:,} unseen cases. Commit {_commit(head)}, "
        + (f"main {_commit(base)}." if base else "not compared."),
        "## Metrics", _metrics(head, base),
        "## Gates", _gates(head, base),
        "## The refit as served", _refit(head, base),
        "## Compared with main", _comparison(head, base),
    ]  # fmt: skip
    return "\n\n".join(sections) + "\n"


def _commit(report: ChangeReport) -> str:
    commit = report["commit"]
    return f"`{commit[:12]}`" + (" with uncommitted changes" if "-dirty" in commit else "")


def _outcome(head: ChangeReport) -> str:
    if head["refused"]:
        return "\n".join(["**Refused.**", "", *(f"- {reason}" for reason in head["refused"])])
    cost = format_number(head["measured"][head["winner"]]["cost_per_1000"])
    return f"**Accepted.** {head['winner']} wins; it costs {cost} per 1,000 cases."


def _metrics(head: ChangeReport, base: ChangeReport | None) -> str:
    """In brackets: the difference to main's model of the same name."""
    columns = list(head["measured"]["baseline"])
    rows = []
    for name, values in head["measured"].items():
        before = base["measured"].get(name, {}) if base else {}
        cells = [format_number(values[column]) for column in columns]
        for at, column in enumerate(columns):
            if column in before:
                cells[at] += f" ({format_number(values[column] - before[column], sign=True)})"
        rows.append([name, *cells])
    return markdown_table(["model", *(column.replace("_", " ") for column in columns)], rows)


def _gates(head: ChangeReport, base: ChangeReport | None) -> str:
    rows = []
    for name, verdicts in head["verdicts"].items():
        before = _by_gate(base["verdicts"].get(name, [])) if base else {}
        rows += [
            [name, *_verdict(each), _main_value(before.get(each["gate"])), each["told"]]
            for each in verdicts
        ]
    return markdown_table(
        ["candidate", "gate", "", "value", "limit", "margin", "on main", "what was measured"], rows
    )


def _refit(head: ChangeReport, base: ChangeReport | None) -> str:
    if not head["artefact"]:
        return "No refit: no candidate passed."
    before = _by_gate(base["artefact"]) if base else {}
    rows = []
    for each in head["artefact"]:
        main = before.get(each["gate"])
        rows.append([*_verdict(each), _main_value(main), _ratio(each, main), each["told"]])
    return markdown_table(
        ["gate", "", "value", "limit", "margin", "on main", "ratio", "what was measured"], rows
    )


def _comparison(head: ChangeReport, base: ChangeReport | None) -> str:
    if base is None:
        return "Not compared: no BASE is set."
    parts = []
    if paired := head["against_main"]:
        parts += [
            f"{head['winner']}, with main's {base['winner']} as the champion, on the "
            f"{paired[0]['n_cases']:,} cases that both scored:",
            markdown_table(
                ["gate", "", "value", "limit", "margin", "what was measured"],
                [[*_verdict(each), each["told"]] for each in paired],
            ),
        ]
    else:
        parts.append("Not compared: one side has no winner.")
    changed = changed_rules(head, base)
    heading = "The change alters these rules:" if changed else "The rules are those of main."
    parts.append("\n".join([heading, "", *(f"- {each}" for each in changed)]).rstrip())
    return "\n\n".join(parts)


def changed_rules(head: ChangeReport, base: ChangeReport) -> list[str]:
    """Return the parameters, candidates and gates that the change altered."""
    ours, theirs = flatten_params(head["params"]), flatten_params(base["params"])
    names = sorted({*ours, *theirs})
    changed = [
        f"{name}: {theirs.get(name, 'absent')} on main, {ours.get(name, 'absent')} now"
        for name in names
        if ours.get(name) != theirs.get(name)
    ]
    for kind, of in (("candidate", set), ("gate", _gate_names)):
        now, then = of(head["verdicts"]), of(base["verdicts"])
        changed += [f"{kind} {name}: gone" for name in sorted(then - now)]
        changed += [f"{kind} {name}: new" for name in sorted(now - then)]
    return changed


def _gate_names(verdicts: Mapping[str, list[dict[str, Any]]]) -> set[str]:
    return {each["gate"] for judged in verdicts.values() for each in judged}


def flatten_params(params: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """Return nested parameters as `a.b.c: value`."""
    flat: dict[str, Any] = {}
    for name, value in params.items():
        inner = isinstance(value, dict)
        flat |= flatten_params(value, f"{at}{name}.") if inner else {f"{at}{name}": value}
    return flat


def _verdict(each: Mapping[str, Any]) -> list[str]:
    mark = "passed" if each["passed"] else "**REFUSED**"
    margin = format_number(each["margin"], sign=True)
    return [each["gate"], mark, format_number(each["value"]), format_limit(each), margin]


def _by_gate(verdicts: GateVerdicts) -> dict[str, Mapping[str, Any]]:
    return {each["gate"]: each for each in verdicts}


def _main_value(each: Mapping[str, Any] | None) -> str:
    """Return the cell for main's verdict."""
    if each is None:
        return "–"
    return format_number(each["value"]) + ("" if each["passed"] else " (refused)")


def _ratio(now: Mapping[str, Any], main: Mapping[str, Any] | None) -> str:
    if main is None or not main["value"] or now["value"] is None:
        return "–"
    return f"× {now['value'] / main['value']:.2f}"
