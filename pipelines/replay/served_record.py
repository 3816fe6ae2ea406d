"""Records of a replay: a JSON line per simulated day, in one form for both replays."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from features import durable_files
from features.validated_cases import read_labels
from monitoring.measures import performance, scores
from pipelines.evaluation import evaluate
from pipelines.release import rollout_controller
from pipelines.training.training_files import TrainingFiles
from serving.models import served_form
from serving.prediction_log.decisions import read_decisions
from serving.release.document import Release
from settings import LoopError, Settings

DAY = timedelta(days=1)
DAYS_FILE = "days.jsonl"
ROLLOUT_STEPS = {"challenge": "advance", "promote": "promote", "withdraw": "withdraw"}


def build_day_record(
    settings: Settings, day: datetime, n: int, rollout: dict[str, Any],
    decision: dict[str, Any] | None, outcome: dict[str, Any] | None,
) -> dict[str, Any]:  # fmt: skip
    """Return the record of `day`, on which `n` cases were predicted.

    `rollout`: result of the rollout flow; `decision`: monitoring's result; `outcome`: of the day's
    training. Releases are all entries of the release record since the day before, so a day that
    was killed and run again has them, too.
    """
    current = rollout_controller.recover_and_read_release(settings)
    before, release = read_day_records(records_folder(settings)), current.document
    if not isinstance(release, Release):
        raise LoopError(
            f"Nothing is released at the end of {day:%Y-%m-%d}. Check the release record."
        )
    n_entries = before[-1]["entries"] if before else 1  # of the first model
    entries = [
        each
        for each in current.trail.entries
        if each.seq > n_entries and each.by == rollout_controller.ROLLOUT_AUTHOR
    ]
    steps = [f"{ROLLOUT_STEPS[each.action]}: {each.why}" for each in entries]
    if rollout.get("action") == "stay":
        steps.append(f"stay: {rollout['told'].partition(': ')[2]}")
    # The cost of the day before, by the labels known at the end of `day`.
    log = read_decisions(settings, since=day - DAY, until=day)
    labels = read_labels(settings, (day - DAY).date(), (day + DAY).date())
    known = performance.join_labels(
        log, labels, day + DAY, horizon=settings.use_case.horizon
    ).dropna(subset="label")
    costs = scores.case_costs(known["label"], known["probability"], settings.params()["costs"])
    challenger = release.challenger
    return {
        "day": day.date().isoformat(), "n": n,
        "known_n": len(known), "known_cost": float(costs.sum()),
        "released": sum(each.action == "promote" for each in entries),
        "withdrawn": sum(each.action == "withdraw" for each in entries),
        "rollout": "; ".join(steps),
        **training_fields(settings, outcome), **(monitoring_fields(decision) if decision else {}),
        "champion": training_day_of(settings, release.champion.version),
        "challenger": challenger and training_day_of(settings, challenger.model.version),
        "stage": challenger and challenger.stage, "entries": release.history.count,
    }  # fmt: skip


def describe_events(record: dict[str, Any]) -> list[str]:
    """Describe the day's rollout steps and training."""
    events = []
    if record["rollout"] and not record["rollout"].startswith("stay"):
        events.append(record["rollout"])
    if record["trained"]:
        refused = [each["gate"] for each in record["verdicts"] if not each["passed"]]
        result = f"refused by {', '.join(refused)}" if refused else "passed every gate"
        events.append(f"trained, {result}; {record['reason']}")
    return events


def training_fields(settings: Settings, outcome: dict[str, Any] | None) -> dict[str, Any]:
    """Return the record's fields of the training with this outcome."""
    if outcome is None:
        return {"trained": 0, "training": None, "verdicts": []}
    files = TrainingFiles(Path(outcome["report"]).parents[3], settings.use_case)
    best = evaluate.best_candidate(files.gates["verdicts"], files.metrics)
    # Without a winner the outcome has no verdicts on sources and refit.
    verdicts = files.gates["verdicts"][best] + outcome["verdicts"]
    return {"trained": 1, "training": outcome["training_id"], "verdicts": verdicts}


def monitoring_fields(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record's fields of a monitoring result, the same in both replays."""
    live, drift = result["live"], result["drift"]
    return {
        "retrain": result["retrain"], "reason": result["reason"], "codes": result.get("codes"),
        "fired": [each["name"] for each in result["triggers"] if each["fired"]],
        "measured": {each["name"]: each["value"] for each in result["triggers"]},
        "gap": live and live["calibration_gap"], "bias": live and live["bias"],
        "coverage": result["coverage"], "drift_share": drift and drift["share"],
        "drift": drift and {
            name: round(each["score"] / each["limit"], 3)
            for name, each in drift["features"].items()
        },
        "delay_hours": result["delay_hours"],
    }  # fmt: skip


def training_day_of(settings: Settings, version: str) -> str:
    """Return the day of a version's training; the fast replay has no version numbers."""
    card = served_form.read_card(settings.state / "models" / version)
    return str(card["data_until"][:10])


def records_folder(settings: Settings) -> Path:
    """Return the folder of a served replay's records, in its home."""
    return settings.state / "replay"


def read_day_records(folder: Path) -> list[dict[str, Any]]:
    """Return the records of the complete days."""
    return durable_files.read_json_lines(folder / DAYS_FILE)


def append_day_record(folder: Path, record: dict[str, Any]) -> None:
    """Add the record of a complete day."""
    lines = [*durable_files.read_lines(folder / DAYS_FILE), json.dumps(record).encode()]
    durable_files.write_file(folder / DAYS_FILE, b"".join(line + b"\n" for line in lines))


def format_day_line(settings: Settings, record: dict[str, Any], seconds: float) -> str:
    """Return a line with the day, the cost so far by known labels, and the day's events."""
    days = read_day_records(records_folder(settings))
    cost, n = (sum(each[column] for each in days) for column in ("known_cost", "known_n"))
    running = f"cost {1000 * cost / n:.0f} per 1,000" if n else "cost not known yet"
    line = f"{record['day']}: {record['n']} cases, {running}, {seconds:.1f} s"
    return "; ".join([line, *describe_events(record)])
