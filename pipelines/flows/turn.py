"""One full turn of the loop: what `mlops run` does, in order, on top of what is done already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from pipelines.flows import processes, turn_rollout
from pipelines.flows.journal import Journal
from pipelines.runtime import child_processes, clock, exclusive, stage_command
from pipelines.training import training_outcome, workspace
from settings import LoopError, Settings

RETRAINING_TIMEOUT = 600.0  # seconds from the event to the end of the retraining


def run_turn(settings: Settings) -> None:
    """Runs what is missing of the turn and ends with a table and what to look at next.

    Raises `UserError` if another run is under way or a port is taken, `LoopError` if a step fails;
    what was done by then stands, and the next run goes on from there.
    """
    params = settings.params()
    start = stage_command.parse_time(params.get("as_of"))
    end = start + timedelta(days=params["turn"]["traffic_days"])
    journal = Journal()
    with exclusive.run_lock(settings):
        clear_killed_run(settings, journal)
        clock.advance_to(settings, start)
        with processes.prefect_server(settings):
            journal.say(f"Prefect's server answers at {settings.prefect_url}")
            run_ingestion(settings, journal, start, online=is_online_store_before(settings, start))
            # It starts beside the training, and says "no model yet" until there is one.
            service_ready = processes.start_service(settings)
            first = train_first_model(settings, journal, start)
            # The replay publishes the features of these batches itself, hour by hour.
            run_ingestion(settings, journal, end, online=False)
            service_ready()
            journal.say(f"the service answers at {settings.service_url}")
            runner_ready = processes.start_runner(settings)
            send_traffic(settings, journal, start, end)
            require_runner = runner_ready()
            clock.advance_to(settings, end)
            decision = run_monitoring(settings, journal, end, every_days=turn_every_days(params))
            finish_retraining(settings, journal, decision, end, require_runner)
            turn_rollout.run_rollout(settings, journal, end)
    journal.table()
    report_next_steps(settings, journal, first)


def clear_killed_run(settings: Settings, journal: Journal) -> None:
    """Clears what a killed run left: processes, and runs that would look RUNNING for ever."""
    for name in child_processes.stop_leftover_children(settings):
        journal.say(f"cleared what a killed run left behind: {name}")
    if (settings.var / "mlflow" / "mlflow.db").exists():
        from pipelines.training import mlflow_tracking

        mlflow_tracking.close_leftover_runs(settings)


def run_ingestion(
    settings: Settings, journal: Journal, as_of: datetime, *, online: bool = True
) -> None:
    """Batches known by `as_of`: validated, made into features, and if `online` published."""
    from pipelines.flows import flows

    with journal.component("1 Data ingestion and validation") as entry:
        journal.say(f"daily batches up to {as_of:%d %B %Y}: fetch and validate")
        found = flows.ingest_flow(as_of=as_of, online=online)
        for feed, counts in found["validated"].items():
            if counts["batches"]:
                journal.say(
                    f"  {feed}: {counts['batches']} batches, {counts['rows']:,} rows accepted, "
                    f"{counts['quarantined']} quarantined"
                )
        entry.ran = "Great Expectations on every daily batch"
        entry.decided = _quarantined(settings)
        entry.evidence = "data/quarantine, var/gx"
    with journal.component("2 Features and store") as entry:
        built = sum(found["built"].values())
        told = f", published online as of {as_of:%d %B %Y}" if online else ""
        journal.say(f"{built} days of feature tables built{told}")
        entry.ran = f"Feast, {len(found['built'])} tables, offline and online"
        entry.decided = f"features up to {as_of:%Y-%m-%d}"
        entry.evidence = "data/features, var/feast"


def is_online_store_before(settings: Settings, moment: datetime) -> bool:
    """Whether the online store is yet to reach `moment`: a rerun must not set it back."""
    from features.publication_record import published_until

    stands = published_until(settings)
    return stands is None or stands < moment


def train_first_model(settings: Settings, journal: Journal, as_of: datetime) -> dict[str, Any]:
    """The training as of `as_of`, unless it is concluded; its outcome, told by components."""
    from pipelines.flows import flows

    outcome = training_outcome.find_outcome(settings, as_of)
    with journal.component("3 Experiment tracking and training") as entry:
        if outcome is None:
            journal.say("train candidates, evaluate them on the newest weeks, gate, register")
            flows.train_flow(as_of=as_of, reason="first model", codes="first_model")
            outcome = training_outcome.find_outcome(settings, as_of)
        if outcome is None or outcome["version"] is None:
            raise LoopError(
                f"The first training gave no model: {outcome['told'] if outcome else 'unfinished'}."
            )
        if outcome.get("refused") and not settings.release_file.exists():
            raise LoopError(f"{outcome['told']} Then promote it, and `mlops run` goes on.")
        entry.ran = "baseline, logistic regression, gradient boosting; every one an MLflow run"
        entry.decided = f"winner of {as_of:%Y-%m-%d}: see the report"
        entry.evidence = f"var/training/{outcome['training_id']}"
    report_training(settings, journal, outcome)
    return outcome


def report_training(settings: Settings, journal: Journal, outcome: dict[str, Any]) -> None:
    """What the gates said, and what the registry holds since."""
    from pipelines.evaluation import results

    with journal.component("4 Evaluation and gates") as entry:
        for line in results.metric_lines(settings, outcome["training_id"]):
            journal.say(line)
        passed, judged = results.count_gates(settings, outcome["training_id"])
        entry.ran = f"{judged} gates on candidates"
        entry.decided = f"{passed} passed, {judged - passed} refused"
        entry.evidence = str(outcome["report"])
    with journal.component("5 Registry and versioning") as entry:
        journal.say(outcome["told"])
        entry.ran = "refit on all known data, artefact gates, MLflow registry"
        entry.decided = outcome["told"].split(":")[0]
        entry.evidence = "models:/mlops-loop@champion"


def send_traffic(settings: Settings, journal: Journal, start: datetime, end: datetime) -> None:
    """The real cases between `start` and `end`, asked of the service at their decision times."""
    from pipelines.runtime import traffic

    told_days: set[str] = set()

    def told(moment: datetime, done: int, total: int) -> None:
        clock.advance_to(settings, moment)
        day = f"{moment:%d %B %Y}"
        if day not in told_days:
            told_days.add(day)
            journal.say(f"  {day}: {done:,} of {total:,} cases answered")

    with journal.component("6 Deployment and serving") as entry:
        journal.say("replay real cases over HTTP, each at its decision time: first one by one")
        alone = start + timedelta(days=settings.params()["turn"]["alone_days"])
        first = traffic.send_cases(settings, start, min(alone, end), told)
        journal.say("and then those that see the same features in one request")
        rest = traffic.send_cases(settings, min(alone, end), end, told, together=True)
        asked, before = (first[part] + rest[part] for part in ("asked", "logged_before"))
        total = asked + before
        journal.say(f"{asked:,} asked now, {before:,} logged before")
        entry.ran = "BentoML service, features from the online store"
        entry.decided = f"{total:,} predictions, every one logged"
        entry.evidence = "var/log/predictions"


def run_monitoring(
    settings: Settings, journal: Journal, as_of: datetime, every_days: float | None = None
) -> dict[str, Any]:
    """Live performance and drift once labels are known, and the decision that follows."""
    from pipelines.flows import flows
    from pipelines.retraining import monitor

    with journal.component("7 Monitoring and feedback") as entry:
        journal.say("labels become known: live performance, drift, decision")
        # A decision that was acted on stands: to run the flow again would ask for another training.
        acted = training_outcome.find_outcome(settings, as_of) is not None
        decision: dict[str, Any] = (
            monitor.monitor_champion(settings, as_of)
            if acted
            else flows.monitor_flow(as_of=as_of, every_days=every_days)
        )
        journal.say(f"retrain: {'yes' if decision['retrain'] else 'no'}. {decision['reason']}")
        entry.ran = "performance with late labels, Evidently drift report"
        entry.decided = f"retrain: {'yes' if decision['retrain'] else 'no'}"
        entry.evidence = "var/reports, var/evidently"
    return decision


def turn_every_days(params: Mapping[str, Any]) -> float:
    """The schedule's days, or the turn's if they are fewer: it is to show what follows on them."""
    return float(min(params["monitoring"]["policy"]["every_days"], params["turn"]["traffic_days"]))


def finish_retraining(
    settings: Settings, journal: Journal, decision: dict[str, Any], as_of: datetime,
    require_runner: Callable[[], object],
) -> None:  # fmt: skip
    """Waits for the retraining that the event started, and for the service to take it up."""
    if not decision["retrain"]:
        journal.say("nothing to retrain: the loop ends here until the next decision")
        return
    outcome = training_outcome.find_outcome(settings, as_of)
    with journal.component("7 Monitoring and feedback"):
        if outcome is None:
            from pipelines.flows import flow_runs

            journal.say("an automation has started the retraining from the event")
            for line in flow_runs.follow_retraining(
                settings, decision, RETRAINING_TIMEOUT, require_runner
            ):
                journal.say(f"  {line}")
            outcome = training_outcome.find_outcome(settings, as_of)
        if outcome is None:
            raise LoopError("The retraining did not conclude: see var/logs/prefect-runner.log.")
    report_training(settings, journal, outcome)


def report_next_steps(settings: Settings, journal: Journal, first: dict[str, Any]) -> None:
    """What to look at next."""
    reports = sorted((settings.var / "reports").glob("*.html"))
    journal.say("done. Look at:")
    for report in [first["report"], *map(str, reports)]:
        journal.say(f"  {report}")
    journal.say("`mlops status` for where things stand, `mlops ui` for MLflow, Prefect, Evidently")


def train_by_hand(settings: Settings, as_of: datetime, reason: str) -> dict[str, Any]:
    """A training by hand, through the same flow; returns its outcome."""
    done = training_outcome.find_outcome(settings, as_of)
    if done is None:
        workspace.require_newer_than_champion(settings, as_of)
    with exclusive.run_lock(settings):
        clear_killed_run(settings, Journal())
        with processes.prefect_server(settings):
            from pipelines.flows import flows

            return flows.train_flow(as_of=as_of, reason=reason)


def _quarantined(settings: Settings) -> str:
    from pipelines.ingestion import accepted_batches

    return (
        f"{accepted_batches.count_quarantined_rows(settings):,} rows quarantined, no batch refused"
    )
