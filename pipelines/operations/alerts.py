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

EVENT_PREFIX = "mlops.alert"  # `.firing` or `.resolved`
EVENT_RESOURCE = "mlops.stack"
EVENT_RETENTION = timedelta(days=7)  # for which Prefect keeps events, as it is shipped
EVENTS_PER_REQUEST = 50  # events in a request
ALERT_FIELDS = (
    "id", "status", "name", "severity", "since", "until", "summary", "description", "runbook",
    "labels",
)  # fmt: skip


class AlertLabels(BaseModel, extra="allow"):
    """What an alert is about; all other labels are kept, too."""

    alertname: str = Field(min_length=1)
    severity: str = "unknown"  # by a rule of a fork; such an alert is kept, too


class Alert(BaseModel):
    """One alert of a notification, as Alertmanager spells it."""

    status: Literal["firing", "resolved"]
    labels: AlertLabels
    annotations: dict[str, str] = {}
    startsAt: AwareDatetime  # noqa: N815
    endsAt: AwareDatetime | None = None  # noqa: N815
    fingerprint: str = Field(pattern=r"^[0-9a-f]{1,32}$")

    def fields(self) -> dict[str, str]:
        """`ALERT_FIELDS` as texts; the same alert in the same state always has the same id."""
        since = self.startsAt.astimezone(UTC).isoformat()
        identity = f"{EVENT_PREFIX}:{self.fingerprint}:{since}:{self.status}"
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


def append_alert(settings: Settings, alert: Mapping[str, str]) -> bool:
    """Adds the alert (`ALERT_FIELDS`) to the log, durably; False if it is there already."""
    if set(alert) != set(ALERT_FIELDS):
        raise LoopError(f"An alert has the fields {ALERT_FIELDS}, not {sorted(alert)}.")
    line = json.dumps({**alert, "recorded_at": datetime.now(UTC).isoformat()})

    def known(lines: list[bytes]) -> bool:
        identity = f'"id": "{alert["id"]}"'.encode()  # as `dumps` writes it
        return any(identity in each for each in lines)

    return durable_files.append_unless(alert_log_path(settings), line, known)


def read_alerts(settings: Settings) -> list[dict[str, Any]]:
    """All lines of the log, the oldest first."""
    return [json.loads(line) for line in durable_files.read_lines(alert_log_path(settings))]


def latest_alerts(settings: Settings) -> list[dict[str, Any]]:
    """Each alert once, in its last state, the newest first."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    # A resolution is the last word, though its line may have overtaken the other one.
    for line in sorted(read_alerts(settings), key=lambda line: line["status"]):
        found[line["name"], line["labels"], line["since"]] = line
    return sorted(found.values(), key=lambda line: line["since"], reverse=True)


def alert_log_path(settings: Settings) -> Path:
    return settings.var / "alerts" / "alerts.jsonl"


def send_events(settings: Settings) -> None:
    """Emit a Prefect event for each recorded alert that has none yet: automations may react.

    Best effort. Raises `httpx.HTTPError` if Prefect does not take one; the next call goes on from
    there. Sent twice it is the same event, by its id. Alerts older than `EVENT_RETENTION` get no
    event.
    """
    lines = unsent_alerts(settings)
    since = datetime.now(UTC) - EVENT_RETENTION
    for start in range(0, len(lines), EVENTS_PER_REQUEST):
        batch = lines[start : start + EVENTS_PER_REQUEST]
        if events := [_event(line) for line in batch if _recorded_at(line) > since]:
            # Over HTTP, not by Prefect's client, whose events are taken before they are sent.
            url = f"{settings.prefect_url}/events"
            httpx.post(url, json=events, timeout=5.0).raise_for_status()
        durable_files.write_json(_cursor(settings), {"id": batch[-1]["id"]})


def unsent_alerts(settings: Settings) -> list[dict[str, Any]]:
    """The lines of the log whose events Prefect has not taken, the oldest first."""
    lines = read_alerts(settings)
    last = (durable_files.read_json(_cursor(settings)) or {}).get("id")
    taken = [number for number, line in enumerate(lines, 1) if line["id"] == last]
    return lines[taken[-1] if taken else 0 :]


def oldest_unsent_age(settings: Settings, now: datetime) -> float:
    """Seconds since the oldest alert without an event was recorded; 0 if all have theirs."""
    lines = unsent_alerts(settings)
    return (now - _recorded_at(lines[0])).total_seconds() if lines else 0.0


def _cursor(settings: Settings) -> Path:
    """Names the last line whose event Prefect has taken: they are sent in the log's order."""
    return alert_log_path(settings).with_name("sent.json")


def _recorded_at(line: Mapping[str, str]) -> datetime:
    return datetime.fromisoformat(line["recorded_at"])


def _event(line: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": line["id"],
        "event": f"{EVENT_PREFIX}.{line['status']}",
        "occurred": line["recorded_at"],
        "resource": {"prefect.resource.id": EVENT_RESOURCE},
        "payload": {name: line[name] for name in ALERT_FIELDS},
    }
