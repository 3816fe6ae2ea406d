"""The record of alerts: a line on the disk for each, and a Prefect event after it.

`mlops watch` appends the line as soon as Alertmanager calls, and needs nothing but the disk for it.
The event `mlops.alert.firing|resolved` follows when Prefect answers. An alert has one id at both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from uuid import NAMESPACE_URL, uuid5

import httpx
from pydantic import AwareDatetime, BaseModel, Field

from features import durable_files
from settings import LoopError, Settings

EVENT = "mlops.alert"  # `.firing` or `.resolved`
RESOURCE = "mlops.stack"
KEPT = timedelta(days=7)  # for which Prefect keeps events, as it is shipped
BATCH = 50  # events in a request
FIELDS = (
    "id", "status", "name", "severity", "since", "until", "summary", "description", "runbook",
    "labels",
)  # fmt: skip


class Labels(BaseModel, extra="allow"):
    """What an alert is about; all other labels are kept, too."""

    alertname: str = Field(min_length=1)
    severity: str = "unknown"  # by a rule of a fork; such an alert is kept, too


class Alert(BaseModel):
    """One alert of a notification, as Alertmanager spells it."""

    status: Literal["firing", "resolved"]
    labels: Labels
    annotations: dict[str, str] = {}
    startsAt: AwareDatetime  # noqa: N815
    endsAt: AwareDatetime | None = None  # noqa: N815
    fingerprint: str = Field(pattern=r"^[0-9a-f]{1,32}$")

    def fields(self) -> dict[str, str]:
        """`FIELDS` as texts; the same alert in the same state always has the same id."""
        since = self.startsAt.astimezone(UTC).isoformat()
        identity = f"{EVENT}:{self.fingerprint}:{since}:{self.status}"
        ended = self.endsAt if self.status == "resolved" else None
        labels = self.labels.model_dump()
        return {
            "id": str(uuid5(NAMESPACE_URL, identity)),
            "status": self.status,
            "name": labels.pop("alertname"),
            "severity": labels.pop("severity"),
            "since": since,
            "until": ended.astimezone(UTC).isoformat() if ended else "",
            "summary": self.annotations.get("summary", ""),
            "description": self.annotations.get("description", ""),
            "runbook": self.annotations.get("runbook_url", ""),
            "labels": ", ".join(f"{name}={labels[name]}" for name in sorted(labels)),
        }


class Notification(BaseModel):
    """The body of Alertmanager's webhook; what we don't use of it is ignored."""

    version: Literal["4"]
    alerts: list[Alert]


def append(settings: Settings, alert: Mapping[str, str]) -> bool:
    """Adds the alert (`FIELDS`) to the log, durably; False if it is there already."""
    if set(alert) != set(FIELDS):
        raise LoopError(f"An alert has the fields {FIELDS}, not {sorted(alert)}.")
    line = json.dumps({**alert, "recorded_at": datetime.now(UTC).isoformat()})

    def known(lines: list[bytes]) -> bool:
        identity = f'"id": "{alert["id"]}"'.encode()  # as `dumps` writes it
        return any(identity in each for each in lines)

    return durable_files.append_unless(log(settings), line, known)


def recorded(settings: Settings) -> list[dict[str, Any]]:
    """All lines of the log, the oldest first."""
    return [json.loads(line) for line in durable_files.read_lines(log(settings))]


def told(settings: Settings) -> list[dict[str, Any]]:
    """Each alert once, in its last state, the newest first."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    # A resolution is the last word, though its line may have overtaken the other one.
    for line in sorted(recorded(settings), key=lambda line: line["status"]):
        found[line["name"], line["labels"], line["since"]] = line
    return sorted(found.values(), key=lambda line: line["since"], reverse=True)


def log(settings: Settings) -> Path:
    return settings.var / "alerts" / "alerts.jsonl"


def send_events(settings: Settings) -> None:
    """Emit a Prefect event for each recorded alert that has none yet: automations may react.

    Best effort. Raises `httpx.HTTPError` if Prefect does not take one; the next call goes on from
    there. Sent twice it is the same event, by its id. Alerts older than `KEPT` get no event.
    """
    lines = waiting(settings)
    since = datetime.now(UTC) - KEPT
    for start in range(0, len(lines), BATCH):
        batch = lines[start : start + BATCH]
        if events := [_event(line) for line in batch if _recorded_at(line) > since]:
            # Over HTTP, not by Prefect's client, whose events are taken before they are sent.
            url = f"{settings.prefect_url}/events"
            httpx.post(url, json=events, timeout=5.0).raise_for_status()
        durable_files.write_json(_cursor(settings), {"id": batch[-1]["id"]})


def waiting(settings: Settings) -> list[dict[str, Any]]:
    """The lines of the log whose events Prefect has not taken, the oldest first."""
    lines = recorded(settings)
    last = (durable_files.read_json(_cursor(settings)) or {}).get("id")
    taken = [number for number, line in enumerate(lines, 1) if line["id"] == last]
    return lines[taken[-1] if taken else 0 :]


def oldest_age(settings: Settings, now: datetime) -> float:
    """Seconds since the oldest alert without an event was recorded; 0 if all have theirs."""
    lines = waiting(settings)
    return (now - _recorded_at(lines[0])).total_seconds() if lines else 0.0


def _cursor(settings: Settings) -> Path:
    """Names the last line whose event Prefect has taken: they are sent in the log's order."""
    return log(settings).with_name("sent.json")


def _recorded_at(line: Mapping[str, str]) -> datetime:
    return datetime.fromisoformat(line["recorded_at"])


def _event(line: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": line["id"],
        "event": f"{EVENT}.{line['status']}",
        "occurred": line["recorded_at"],
        "resource": {"prefect.resource.id": RESOURCE},
        "payload": {name: line[name] for name in FIELDS},
    }
