"""Tests of the audit trail: every later change of an entry is detected."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipelines.release.audit.trail import (
    AuditEntry,
    StoredEntry,
    format_entry,
    traffic_shares_at,
    verify_trail,
)
from serving.release.document import GENESIS, HistoryHead

START = datetime(2013, 4, 1, tzinfo=UTC)
EVIDENCE = "e" * 64


def arms(champion: str | None, challenger: str | None = None, percent: float = 0.0) -> Any:
    beside = {
        "version": challenger, "digest": "b" * 64, "stage": "canary" if percent else "shadow",
        "percent": percent, "name": None,
    }  # fmt: skip
    return {
        "generation": 1, "frozen": False, "challenger": beside if challenger else None,
        "champion": {"version": champion, "digest": "a" * 64} if champion else None,
    }  # fmt: skip


SERVED = [
    arms(None), arms("1"), arms("1", "2"), arms("1", "2", 10.0), arms("2"), arms("1"),
]  # fmt: skip
ACTIONS = ["promote", "challenge", "challenge", "promote", "rollback"]


def recorded_trail() -> tuple[list[StoredEntry], HistoryHead]:
    """Five changes, an hour apart."""
    stored_entries, head = [], GENESIS
    for number, action in enumerate(ACTIONS, start=1):
        entry = AuditEntry(
            seq=number, at=START + timedelta(hours=number), by="somebody", action=action,
            version="2", why=f"reason {number}", before=SERVED[number - 1], after=SERVED[number],
            evidence=EVIDENCE, previous=head,
        )  # fmt: skip
        head = entry.digest
        stored_entries.append(stored(entry))
    return stored_entries, HistoryHead(len(stored_entries), head)


def stored(entry: AuditEntry, **changed: Any) -> StoredEntry:
    tags = {**entry.readable_tags(), "entry": entry.body, "digest": entry.digest}
    return replace(StoredEntry(f"run {entry.seq}", tags, True, evidence=EVIDENCE), **changed)


def test_an_unchanged_trail_has_no_problem_in_any_order() -> None:
    stored_entries, history = recorded_trail()
    trail = verify_trail(reversed(stored_entries), history)
    assert [entry.action for entry in trail.entries] == ACTIONS
    assert trail.problems == ()
    assert trail.unfinished == ()
    assert trail.newest == stored_entries[-1]
    assert AuditEntry.parse(stored_entries[0].tags["entry"]) == trail.entries[0]


def test_an_empty_trail_has_no_problem() -> None:
    assert verify_trail([], HistoryHead()).problems == ()


def forged(each: StoredEntry, why: str) -> dict[str, str]:
    """The tags of an entry whose reason was changed consistently in all of them."""
    entry = replace(AuditEntry.parse(each.tags["entry"]), why=why)
    return {**entry.readable_tags(), "entry": entry.body}


CHANGES: dict[str, tuple[Callable[[list[StoredEntry]], object], str]] = {
    "its text": (
        lambda s: s.__setitem__(2, replace(s[2], tags={**s[2].tags, **forged(s[2], "x")})),
        "Entry 3 was changed",
    ),
    "its text and digest": (
        lambda s: s.__setitem__(
            2,
            replace(s[2], tags={
                **forged(s[2], "x"),
                "digest": replace(AuditEntry.parse(s[2].tags["entry"]), why="x").digest,
            }),
        ),
        "Entry 3 .* is missing",
    ),
    "a tag that people read": (
        lambda s: s.__setitem__(2, replace(s[2], tags={**s[2].tags, "by": "somebody else"})),
        "Entry 3 was changed: the tags by",
    ),
    "its text is no JSON": (
        lambda s: s.__setitem__(2, replace(s[2], tags={**s[2].tags, "entry": "{"})),
        "Entry 3 was changed",
    ),
    "its evidence": (
        lambda s: s.__setitem__(2, replace(s[2], evidence="f" * 64)),
        "Entry 3 was changed: its evidence",
    ),
    "it is gone": (lambda s: s.pop(2), "Entry 3 .* is missing"),
    "it is marked as deleted": (
        lambda s: s.__setitem__(2, replace(s[2], deleted=True)), "Entry 3 was deleted",
    ),
    "the first is gone": (lambda s: s.pop(0), "Entry 1 .* is missing"),
    "the end is cut off": (lambda s: s.pop(), "Entry 5 .* is missing"),
    "two are cut off": (lambda s: (s.pop(), s.pop()), "Entry 5 .* is missing"),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_each_change_of_an_entry_is_detected(what: str) -> None:
    stored_entries, history = recorded_trail()
    tamper, problem = CHANGES[what]
    tamper(stored_entries)
    assert re.search(problem, "\n".join(verify_trail(stored_entries, history).problems))


def test_a_document_that_was_set_back_is_detected() -> None:
    stored_entries, _ = recorded_trail()
    history = HistoryHead(3, stored_entries[2].tags["digest"])
    trail = verify_trail(stored_entries, history)
    assert len(trail.entries) == 3
    assert len(trail.problems) == 2
    assert "set back" in trail.problems[0]


def test_a_wrong_count_in_the_document_is_detected() -> None:
    stored_entries, history = recorded_trail()
    assert verify_trail(stored_entries, replace(history, count=4)).problems
    assert verify_trail(stored_entries, replace(history, count=6)).problems


def test_entries_behind_a_break_are_not_trusted() -> None:
    stored_entries, history = recorded_trail()
    stored_entries.pop(2)
    assert [entry.seq for entry in verify_trail(stored_entries, history).entries] == [4, 5]


def test_a_killed_change_is_unfinished_and_no_problem() -> None:
    stored_entries, history = recorded_trail()
    last = AuditEntry.parse(stored_entries[-1].tags["entry"])
    attempt = replace(last, seq=6, previous=last.digest, why="killed")
    trail = verify_trail([*stored_entries, stored(attempt, concluded=False)], history)
    assert trail.problems == ()
    assert [each.tags["why"] for each in trail.unfinished] == ["killed"]


@pytest.mark.parametrize(
    ("hours", "shares"),
    [
        (0.5, {}),
        (1.0, {"1": 1.0}),
        (2.5, {"1": 1.0, "2": 0.0}),
        (3.5, {"1": 0.9, "2": 0.1}),
        (4.5, {"2": 1.0}),
        (99.0, {"1": 1.0}),
    ],
)
def test_traffic_shares_at_a_moment(hours: float, shares: dict[str, float]) -> None:
    stored_entries, history = recorded_trail()
    entries = verify_trail(stored_entries, history).entries
    assert traffic_shares_at(entries, START + timedelta(hours=hours)) == shares


def test_a_formatted_entry_has_author_time_versions_and_reason() -> None:
    stored_entries, history = recorded_trail()
    text = "\n".join(format_entry(verify_trail(stored_entries, history).entries[3]))
    for part in ("2013-04-01 04:00", "promote version 2", "by somebody", "reason 4"):
        assert part in text
    assert "from version 1, canary 2 at 10 % to version 2" in text


def test_a_round_trip_through_json_keeps_the_digest() -> None:
    stored_entries, _ = recorded_trail()
    entry = AuditEntry.parse(stored_entries[1].tags["entry"])
    assert (
        AuditEntry.parse(json.dumps(json.loads(entry.body))).digest
        == stored_entries[1].tags["digest"]
    )
