"""What happened on a simulated day that the loop's real parts lived? A record, a line a day."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from features import durable_files
from monitoring.measures import performance
from pipelines.release import rollout_controller, rollout_evidence
from serving.prediction_log import reader
from serving.release.document import Release
from settings import LoopError, Settings
from usecase import evaluation

DAY = timedelta(days=1)
RECORDS_FILE = "days.jsonl"
ROLLOUT_STEPS = {"challenge": "advance", "promote": "promote", "withdraw": "withdraw"}


def build_day_record(
    settings: Settings, day: datetime, n: int, looked: dict[str, Any],
    decision: dict[str, Any] | None, outcome: dict[str, Any] | None,
) -> dict[str, Any]:  # fmt: skip
    """The record of `day` in which `n` cases were answered, in the words of the fast replay.

    `looked`: what the look at the challenger gave; `decision`: monitoring's; `outcome`: of the
    training as of the day. What was released stands in the record of releases, also where the day
    was killed and lived again: all since the day before.
    """
    stands = rollout_controller.recover_and_read_release(settings)
    before = read_day_records(settings)
    seen = before[-1]["entries"] if before else 1  # the first model's
    moved = [
        each
        for each in stands.trail.entries
        if each.seq > seen and each.by == rollout_controller.ROLLOUT_AUTHOR
    ]
    told = [f"{ROLLOUT_STEPS[each.action]}: {each.why}" for each in moved]
    if looked.get("action") == "stay":
        told.append(f"stay: {looked['told'].partition(': ')[2]}")
    state = stands.document
    if not isinstance(state, Release):
        raise LoopError(f"Nothing is released at the end of {day:%Y-%m-%d}: see the record.")
    challenger = state.challenger
    return {
        "day": day.date().isoformat(),
        "n": n,
        **_known_cost(settings, day),
        "released": sum(each.action == "promote" for each in moved),
        "withdrawn": sum(each.action == "withdraw" for each in moved),
        "rollout": "; ".join(told),
        **training_fields(outcome),
        **_monitored(decision),
        "champion": training_day_of(settings, state.champion.version),
        "challenger": None
        if challenger is None
        else training_day_of(settings, challenger.model.version),
        "stage": None if challenger is None else challenger.stage,
        "entries": state.history.count,
    }


def _known_cost(settings: Settings, day: datetime) -> dict[str, Any]:
    """Of the cases of the day before `day`, by the labels that are known when `day` is over."""
    log = reader.read_predictions(settings.predictions, since=day - DAY, until=day)
    labels = rollout_evidence.read_known_labels(settings, day - DAY, day + DAY)
    joined = performance.join_labels(log, labels, day + DAY)
    known = joined[joined["label"].notna()]
    costs = evaluation.case_costs(known["label"], known["probability"], settings.params()["costs"])
    return {"known_n": len(known), "known_cost": float(costs.sum())}


def describe_events(record: dict[str, Any]) -> list[str]:
    """What happened on the day beside its cases."""
    found = []
    if record["rollout"] and not record["rollout"].startswith("stay"):
        found.append(record["rollout"])
    if record["trained"]:
        refused = [each["gate"] for each in record["verdicts"] if not each["passed"]]
        came = f"refused by {', '.join(refused)}" if refused else "passed every gate"
        found.append(f"trained, {came}; {record['reason']}")
    return found


def training_fields(outcome: dict[str, Any] | None) -> dict[str, Any]:
    if outcome is None:
        return {"trained": 0, "training": None, "verdicts": []}
    path = Path(outcome["report"]).parent
    found = json.loads((path / "gates.json").read_text())
    measured = json.loads((path / "metrics.json").read_text())
    cheapest = min(found["verdicts"], key=lambda each: measured[each]["cost_per_1000"])
    # None on the sources and the refit, where no candidate came so far.
    verdicts = found["verdicts"][found["winner"] or cheapest] + outcome["verdicts"]
    return {"trained": 1, "training": outcome["training_id"], "verdicts": verdicts}


def _monitored(decision: dict[str, Any] | None) -> dict[str, Any]:
    if decision is None:
        return {}
    live, drift = decision["live"], decision["drift"]
    return {
        "retrain": decision["retrain"], "reason": decision["reason"],
        "codes": decision.get("codes"),
        "fired": [each["name"] for each in decision["triggers"] if each["fired"]],
        "gap": live and live["calibration_gap"], "bias": live and live["bias"],
        "coverage": decision["coverage"], "drift_share": drift and drift["share"],
        "drift": drift and {
            each: round(found["score"] / found["limit"], 3)
            for each, found in drift["features"].items()
        },
        "delay_hours": decision["delay_hours"],
    }  # fmt: skip


def training_day_of(settings: Settings, version: str) -> str:
    """A version by the day as of which it was trained: the fast replay has no version numbers."""
    card = json.loads((settings.var / "models" / version / "card.json").read_text())
    return str(card["data_until"][:10])


def read_day_records(settings: Settings) -> list[dict[str, Any]]:
    """The records of the days that are over."""
    return [json.loads(line) for line in durable_files.read_lines(_path(settings))]


def append_day_record(settings: Settings, record: dict[str, Any]) -> None:
    """Adds the record of a day that is over."""
    whole = "".join(json.dumps(each) + "\n" for each in [*read_day_records(settings), record])
    durable_files.write_file(_path(settings), whole)


def format_day_line(settings: Settings, record: dict[str, Any], seconds: float) -> str:
    """A line: the day, the running cost, as far as labels are known, and what happened."""
    days = read_day_records(settings)
    cost, n = (sum(each[column] for each in days) for column in ("known_cost", "known_n"))
    running = f"cost {1000 * cost / n:.0f} per 1,000" if n else "no cost known yet"
    return "; ".join(
        [
            f"{record['day']}: {record['n']} cases, {running}, {seconds:.1f} s",
            *describe_events(record),
        ]
    )


def _path(settings: Settings) -> Path:
    return settings.var / "replay" / RECORDS_FILE
