"""The alert log: one line on disk per alert, and one Prefect event after it.

`mlops watch` appends the line when Alertmanager calls, and needs only the disk for that. The event
`mlops.alert.firing|resolved` follows when Prefect answers. Line and event share one id.
"""

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
EVENT_RETENTION = timedelta(days=7)  # Prefect's default
EVENTS_PER_REQUEST = 50
ALERT_FIELDS = (
    "id", "status", "name", "severity", "since", "until", "summary", "description", "runbook",
    "labels",
)  # fmt: skip


class AlertLabels(BaseModel, extra="allow"):
    """The labels of an alert; all others are kept, too."""

    alertname: str = Field(min_length=1)
    severity: str = "unknown"  # a rule of a fork may set none


class Alert(BaseModel):
    """One alert of a notification, in Alertmanager's spelling."""

    status: Literal["firing", "resolved"]
    labels: AlertLabels
    annotations: dict[str, str] = {}
    startsAt: AwareDatetime  # noqa: N815
    endsAt: AwareDatetime | None = None  # noqa: N815
    fingerprint: str = Field(pattern=r"^[0-9a-f]{1,32}$")

    def fields(self) -> dict[str, str]:
        """Return `ALERT_FIELDS` as texts; an alert in the same state always has the same id."""
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
    """The body of Alertmanager's webhook; unused fields are ignored."""

    version: Literal["4"]
    alerts: list[Alert]


def append_alert(settings: Settings, alert: Mapping[str, str]) -> bool:
    """Append the alert (`ALERT_FIELDS`) to the log, durably; False if the log has it already."""
    if set(alert) != set(ALERT_FIELDS):
        raise LoopError(f"Wrong fields of an alert: {sorted(alert)}. It needs {ALERT_FIELDS}.")
    line = json.dumps({**alert, "recorded_at": datetime.now(UTC).isoformat()})

    return durable_files.append_once(alert_log_path(settings), line, _alert_id) is None


def _alert_id(line: bytes) -> tuple[str, bool]:
    return json.loads(line)["id"], True


def read_alerts(settings: Settings) -> list[dict[str, Any]]:
    """Return all lines of the log, the oldest first."""
    return durable_files.read_json_lines(alert_log_path(settings))


def latest_alerts(settings: Settings) -> list[dict[str, Any]]:
    """Return each alert once, in its last state, the newest first."""
    latest: dict[tuple[str, ...], dict[str, Any]] = {}
    # Resolved comes last, even if its line was written before the firing one.
    for line in sorted(read_alerts(settings), key=lambda line: line["status"]):
        latest[line["name"], line["labels"], line["since"]] = line
    return sorted(latest.values(), key=lambda line: line["since"], reverse=True)


def alert_log_path(settings: Settings) -> Path:
    return settings.var / "alerts" / "alerts.jsonl"


def send_events(settings: Settings) -> None:
    """Send a Prefect event for each alert in the log that has none yet; automations may react.

    Best effort. Raises `httpx.HTTPError` if Prefect rejects one; the next call continues there.
    A repeated event has the same id. Alerts older than `EVENT_RETENTION` get no event.
    """
    lines = unsent_alerts(settings)
    since = datetime.now(UTC) - EVENT_RETENTION
    for start in range(0, len(lines), EVENTS_PER_REQUEST):
        batch = lines[start : start + EVENTS_PER_REQUEST]
        if events := [_event(line) for line in batch if _recorded_at(line) > since]:
            # Over HTTP: Prefect's client accepts an event before it sends it.
            url = f"{settings.prefect_url}/events"
            httpx.post(url, json=events, timeout=5.0).raise_for_status()
        durable_files.write_json(_cursor(settings), {"id": batch[-1]["id"]})


def unsent_alerts(settings: Settings) -> list[dict[str, Any]]:
    """Return the lines of the log without an accepted event, the oldest first."""
    lines = read_alerts(settings)
    last = (durable_files.read_json(_cursor(settings)) or {}).get("id")
    sent = [number for number, line in enumerate(lines, 1) if line["id"] == last]
    return lines[sent[-1] if sent else 0 :]


def oldest_unsent_age(settings: Settings, now: datetime) -> float:
    """Return the seconds since the oldest alert without an event was logged; 0 if all have one."""
    lines = unsent_alerts(settings)
    return (now - _recorded_at(lines[0])).total_seconds() if lines else 0.0


def _cursor(settings: Settings) -> Path:
    """Path of the id of the last accepted event; events are sent in the order of the log."""
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
