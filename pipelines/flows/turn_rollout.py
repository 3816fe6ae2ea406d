"""The rollout at the end of a turn: further days of traffic for the shadow and the canary."""

import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import httpx

from pipelines.flows.journal import Journal
from pipelines.release.audit import approval_rules
from pipelines.runtime import clock
from pipelines.runtime.waiting import wait_until
from serving.release import document
from settings import LoopError, Settings

WAITING_CODES = (*approval_rules.REFUSALS, "superseded")  # a person or another version acts first
LOAD_TIMEOUT = 60.0  # seconds for the service to load a version; it polls twice a second


def run_rollout(settings: Settings, journal: Journal, start: datetime) -> None:
    """Send traffic day by day from `start` and control the rollout after each day.

    Stops when the challenger is promoted or withdrawn, or when someone else must act. Days that a
    killed run has sent are not sent again.
    """
    from pipelines.flows import flows
    from pipelines.release import rollout_controller

    if rollout_controller.rollout_challenger(settings) is None:
        return
    with journal.component("6 Deployment and serving") as row:
        params = settings.params()
        days, shadow_days = params["turn"]["rollout_days"], turn_shadow_days(params)
        if note := short_shadow_note(params):
            journal.say(note)
        # Ingest all days at once. Each row has the time at which it became known, so that a check
        # as of an earlier day sees no later label.
        flows.ingest_flow(as_of=start + timedelta(days=days), online=False)
        decision: dict[str, Any] = {}
        for day in range(days):
            challenger = rollout_controller.rollout_challenger(settings)
            if challenger is None or decision.get("code") in WAITING_CODES:
                break
            journal.say(f"version {challenger.model.version} is in the {challenger.stage}")
            decision = run_rollout_day(settings, journal, start + timedelta(days=day), shadow_days)
        wait_for_release(settings)
        if challenger := rollout_controller.rollout_challenger(settings):
            journal.say(f"still in the {challenger.stage}: the flow `rollout` continues with it")
        if decision:
            row.ran += "; shadow and canary"
            row.decided += f"; {decision['told'].split(':')[0]}"


def turn_shadow_days(params: Mapping[str, Any]) -> int:
    """Return the days of the shadow, at most the turn's `shadow_days`."""
    shipped = params["rollout"]["shadow"]["days"]
    return int(min(shipped, params["turn"].get("shadow_days", shipped)))


def short_shadow_note(params: Mapping[str, Any]) -> str:
    """Return a line that says how much shorter the turn's shadow is; empty if it is not."""
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
    """Send the cases of a day, then control the rollout; return the controller's decision."""
    from pipelines.flows import flows
    from pipelines.runtime import traffic

    until = day + timedelta(days=1)
    wait_for_release(settings)
    sent = traffic.send_cases(settings, day, until, together=True)
    clock.advance_to(settings, until)
    journal.say(f"  {day:%d %B %Y}: {sum(sent.values()):,} cases answered")
    decision: dict[str, Any] = flows.rollout_flow(as_of=until, shadow_days=shadow_days)
    journal.say(f"  {decision['told']}")
    return decision


def wait_for_release(settings: Settings) -> None:
    """Wait until the service uses the newest release; raise `LoopError` after `LOAD_TIMEOUT`."""
    wanted = document.read_release(settings)
    serving: dict[str, Any] = {}

    def is_newest() -> bool:
        serving.update(httpx.get(f"{settings.service_url}/release", timeout=10).json())
        # A challenger that can't be loaded is listed as a problem; the rollout withdraws it.
        return wanted is not None and serving["generation"] == wanted.generation

    if not wait_until(is_newest, LOAD_TIMEOUT):
        raise LoopError(
            f"The service uses release {serving['generation']}, not the newest, "
            f"{wanted and wanted.generation}: {serving['problem']}. See its log."
        )
    if not settings.owns_service:
        time.sleep(1.0)  # one of several replicas answered; the others poll twice a second
