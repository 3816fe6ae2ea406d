"""Which alerts were there? From Alertmanager's words to a Prefect event and a line on the disk.

The way of an alert: `deliver` (in `mlops watch`) → the event `mlops.alert.firing|resolved` → an
automation → the flow `alert` → `append`. Each end knows an alert again by its id, so that every
step may be taken twice; and `deliver` returns only when the line is there.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import NAMESPACE_URL, uuid5

import httpx
from pydantic import AwareDatetime, BaseModel, Field

from features import durable
from settings import LoopError, Settings

EVENT = "mlops.alert"  # `.firing` or `.resolved`
RESOURCE = "mlops.stack"
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


async def deliver(settings: Settings, alerts: Sequence[Alert], patience: float) -> None:
    """Emits an event for each alert that is not on the disk, and returns when all are.

    Raises `LoopError` if Prefect does not take the events, or a line is not there in `patience`
    seconds: then whoever sent the alerts must send them again.
    """
    wanted = {fields["id"]: fields for fields in (alert.fields() for alert in alerts)}
    if not (new := _absent(settings, wanted)):
        return
    events = [_event(wanted[each]) for each in new]
    try:
        # Over HTTP, not by Prefect's client, whose events are taken before they are sent.
        async with httpx.AsyncClient(timeout=5.0, trust_env=False) as client:
            answer = await client.post(f"{settings.prefect_url}/events", json=events)
            answer.raise_for_status()
    except httpx.HTTPError as error:
        raise LoopError(
            f"Prefect took no event at {settings.prefect_url} ({error}); the alert must be sent "
            "again."
        ) from error
    deadline = time.monotonic() + patience
    while left := _absent(settings, wanted):
        if time.monotonic() > deadline:
            raise LoopError(
                f"{len(left)} alerts were not recorded within {patience:.0f} s: does the worker "
                "run? They must be sent again."
            )
        await asyncio.sleep(0.5)


def append(settings: Settings, alert: Mapping[str, str]) -> bool:
    """Adds the alert (`FIELDS`) to the log, durably; False if it is there already."""
    if set(alert) != set(FIELDS):
        raise LoopError(f"An alert has the fields {FIELDS}, not {sorted(alert)}.")
    line = json.dumps({**alert, "recorded_at": datetime.now(UTC).isoformat()})

    def known(lines: list[bytes]) -> bool:
        return any(json.loads(each)["id"] == alert["id"] for each in lines)

    return durable.append_unless(log(settings), line, known)


def recorded(settings: Settings) -> list[dict[str, Any]]:
    """All lines of the log, the oldest first."""
    return [json.loads(line) for line in durable.read_lines(log(settings))]


def told(settings: Settings) -> list[dict[str, Any]]:
    """Each alert once, in its last state, the newest first."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    # A resolution is the last word, though its line may have overtaken the other one.
    for line in sorted(recorded(settings), key=lambda line: line["status"]):
        found[line["name"], line["labels"], line["since"]] = line
    return sorted(found.values(), key=lambda line: line["since"], reverse=True)


def log(settings: Settings) -> Path:
    return settings.var / "alerts" / "alerts.jsonl"


def _absent(settings: Settings, wanted: Mapping[str, Any]) -> list[str]:
    here = {line["id"] for line in recorded(settings)}
    return [each for each in wanted if each not in here]


def _event(fields: dict[str, str]) -> dict[str, Any]:
    return {
        "id": fields["id"],
        "event": f"{EVENT}.{fields['status']}",
        "occurred": datetime.now(UTC).isoformat(),
        "resource": {"prefect.resource.id": RESOURCE},
        "payload": fields,
    }
