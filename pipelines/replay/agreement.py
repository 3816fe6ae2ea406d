"""The days on which the two replays of a policy, real parts and steps alone, differ."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pipelines.evaluation.gates.verdict import verdict_code

# What was decided, by whom and on what; how a stage is told differs by its wording alone.
DECISION_COLUMNS = (
    "n", "trained", "released", "withdrawn", "champion", "challenger", "stage", "retrain", "fired",
    "codes",
)  # fmt: skip
NUMERIC_COLUMNS = (
    "cost",
    "baseline_cost",
    "gap",
    "bias",
    "coverage",
    "drift_share",
    "delay_hours",
)


def differing_days(real: pd.DataFrame, quick: pd.DataFrame) -> dict[str, list[str]]:
    """The days on which the two say different things, by what they differ in: a column or `gates`.

    Both hold a row per day, of the same days. What the real parts' records lack is not compared:
    what a day cost is known once they were judged (`replay_judged.days`).
    """
    days = real["day"]
    if list(days) != list(quick["day"]):
        raise ValueError("The replays are not of the same days.")
    wrong = {
        name: ~_same(real[name], quick[name])
        for name in DECISION_COLUMNS
        if name in real and name in quick  # a replay of an older version has no codes
    }
    wrong |= {name: ~_close(real[name], quick[name]) for name in NUMERIC_COLUMNS if name in real}
    wrong["drift"] = ~_drifts(real["drift"], quick["drift"])
    wrong["gates"] = ~_same(real["verdicts"].map(_refused), quick["verdicts"].map(_refused))
    return {name: days[each].tolist() for name, each in wrong.items() if each.any()}


def format_agreement(real: pd.DataFrame, quick: pd.DataFrame) -> str:
    """On how many days they differ, and in what."""
    found = differing_days(real, quick)
    days = {day for each in found.values() for day in each}
    return f"{len(days)} of {len(real)}" + (f": {', '.join(found)}" if found else "")


def _same(real: pd.Series, quick: pd.Series) -> pd.Series:
    ours, theirs = (one.astype(object).where(one.notna(), None) for one in (real, quick))
    return pd.Series([a == b for a, b in zip(ours, theirs, strict=True)], index=real.index)


def _close(real: pd.Series, quick: pd.Series) -> pd.Series:
    ours, theirs = real.astype("float64"), quick.astype("float64")
    return ((ours - theirs).abs() <= 1e-9) | (ours.isna() & theirs.isna())


def _drifts(real: pd.Series, quick: pd.Series) -> pd.Series:
    """Of each feature, to the third digit, to which the records are rounded."""

    def same(ours: Any, theirs: Any) -> bool:
        if not (isinstance(ours, dict) and isinstance(theirs, dict)):
            return isinstance(ours, dict) == isinstance(theirs, dict)
        return set(ours) == set(theirs) and all(abs(ours[k] - theirs[k]) <= 1e-3 for k in ours)

    return pd.Series([same(a, b) for a, b in zip(real, quick, strict=True)], index=real.index)


def _refused(verdicts: list[dict[str, Any]]) -> list[str]:
    return [verdict_code(each) for each in verdicts if not each["passed"]]
