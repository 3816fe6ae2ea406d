"""A new version on trial in a replay: as many further days as its shadow and canary need."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import httpx

from pipelines.flows.journal import Journal
from pipelines.release.audit import approval_rules
from pipelines.runtime import clock
from serving.release import document
from settings import LoopError, Settings

WAITING_CODES = (*approval_rules.REFUSALS, "superseded")  # somebody else has to act first
LOAD_TIMEOUT = 60.0  # seconds for the service to load a version; it looks twice a second


def run_rollout(settings: Settings, journal: Journal, start: datetime) -> None:
    """Replays day after day from `start`, the rollout looked at after each: to the top, or out.

    Days that a killed run has replayed are not asked again, and looks back change nothing.
    """
    from pipelines.flows import flows
    from pipelines.release import rollout_controller

    if rollout_controller.rollout_challenger(settings) is None:
        return
    with journal.component("6 Deployment and serving") as entry:
        params = settings.params()
        days, shadow_days = params["turn"]["rollout_days"], turn_shadow_days(params)
        if told := short_shadow_note(params):
            journal.say(told)
        # What is known of these days when is in the rows: a look sees no later label.
        flows.ingest_flow(as_of=start + timedelta(days=days), online=False)
        found: dict[str, Any] = {}
        for day in range(days):
            challenger = rollout_controller.rollout_challenger(settings)
            if challenger is None or found.get("code") in WAITING_CODES:
                break
            journal.say(f"version {challenger.model.version} is in the {challenger.stage}")
            found = run_rollout_day(settings, journal, start + timedelta(days=day), shadow_days)
        wait_for_release(settings)
        if challenger := rollout_controller.rollout_challenger(settings):
            journal.say(f"still in the {challenger.stage}: the flow `rollout` goes on with it")
        if found:
            entry.ran = f"{entry.ran}; shadow and canary"
            entry.decided = f"{entry.decided}; {found['told'].split(':')[0]}"


def turn_shadow_days(params: Mapping[str, Any]) -> int:
    """The days of the shadow, or the turn's if they are fewer: it shows what follows on them."""
    shipped = params["rollout"]["shadow"]["days"]
    return int(min(shipped, params["turn"].get("shadow_days", shipped)))


def short_shadow_note(params: Mapping[str, Any]) -> str:
    """A line that says that the turn's shadow is shorter than a deployment's; empty if it isn't."""
    days, shipped = turn_shadow_days(params), params["rollout"]["shadow"]["days"]
    if days == shipped:
        return ""
    return (
        f"the shadow lasts {days} days in this turn (turn.shadow_days), not the {shipped} days of "
        "a deployment (rollout.shadow.days)"
    )


def run_rollout_day(
    settings: Settings, journal: Journal, day: datetime, shadow_days: int
) -> dict[str, Any]:
    """The cases of a day, and what the controller makes of them at its end."""
    from pipelines.flows import flows
    from pipelines.runtime import traffic

    until = day + timedelta(days=1)
    wait_for_release(settings)
    sent = traffic.send_cases(settings, day, until, together=True)
    clock.advance_to(settings, until)
    journal.say(f"  {day:%d %B %Y}: {sum(sent.values()):,} cases answered")
    found: dict[str, Any] = flows.rollout_flow(as_of=until, shadow_days=shadow_days)
    journal.say(f"  {found['told']}")
    return found


def wait_for_release(settings: Settings) -> None:
    """Returns when the service answers by the newest release; raises `LoopError` if it won't."""
    wanted = document.read_release(settings.release_file)
    serving: dict[str, Any] = {}
    deadline = time.monotonic() + LOAD_TIMEOUT
    while time.monotonic() < deadline:
        serving = httpx.get(f"{settings.service_url}/release", timeout=10).json()
        # A challenger that can't be loaded is told there as a problem; to stop it is the rollout's.
        if wanted and serving["generation"] == wanted.generation:
            if not settings.owns_service:
                time.sleep(1.0)  # one of several answered; the others look twice a second, too
            return
        time.sleep(0.25)
    raise LoopError(
        f"The service answers by release {serving['generation']} and not by "
        f"{wanted and wanted.generation}: {serving['problem']}"
    )
