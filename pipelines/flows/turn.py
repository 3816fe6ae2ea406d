"""One turn of the loop (`mlops run`): its steps in order, skipping those that are done."""

from datetime import datetime, timedelta
from typing import Any

from pipelines.flows import processes, turn_rollout, turn_steps
from pipelines.flows.journal import Journal
from pipelines.flows.turn_addresses import browser_addresses
from pipelines.runtime import child_processes, clock, exclusive, stage_command
from pipelines.training import training_outcome, workspace
from settings import Settings


def run_turn(settings: Settings) -> None:
    """Run the missing steps of the turn; print a summary table and the next steps for the user.

    A failed turn keeps the steps that are done, and the next call continues from there. Raises
    `UserError` if another run is active or a port is taken, `LoopError` if a step fails.
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
            online = turn_steps.is_online_store_before(settings, start)
            turn_steps.run_ingestion(settings, journal, start, online=online)
            # It starts beside the training, and reports "no model yet" until a model is released.
            wait_for_service = processes.start_service(settings)
            first = turn_steps.train_first_model(settings, journal, start)
            # The traffic below publishes the features of these batches, hour by hour.
            turn_steps.run_ingestion(settings, journal, end, online=False)
            wait_for_service()
            journal.say(f"the service answers at {settings.service_url}")
            require_runner, wait_for_runner = processes.start_runner(settings)
            turn_steps.send_traffic(settings, journal, start, end)
            wait_for_runner()
            clock.advance_to(settings, end)
            decision = turn_steps.run_monitoring(
                settings, journal, end, every_days=turn_steps.turn_every_days(params)
            )
            turn_steps.finish_retraining(settings, journal, decision, end, require_runner)
            turn_rollout.run_rollout(settings, journal, end)
    journal.print_table()
    report_next_steps(settings, journal, first)


def train_by_hand(settings: Settings, as_of: datetime, reason: str) -> dict[str, Any]:
    """Run the training flow as of `as_of` (`mlops train`) and return the outcome."""
    if training_outcome.find_outcome(settings, as_of) is None:
        workspace.require_newer_than_champion(settings, as_of)
    journal = Journal()
    with exclusive.run_lock(settings):
        clear_killed_run(settings, journal)
        with processes.prefect_server(settings):
            from pipelines.flows import flows

            turn_steps.report_training_steps(journal)
            return flows.train_flow(as_of=as_of, reason=reason)


def clear_killed_run(settings: Settings, journal: Journal) -> None:
    """End the processes of a killed run, and its MLflow runs that are still marked as running."""
    for name in child_processes.stop_children(settings):
        journal.say(f"ended a process of a killed run: {name}")
    if (settings.var / "mlflow" / "mlflow.db").exists():
        from pipelines.training import mlflow_tracking

        mlflow_tracking.close_leftover_runs(settings)


def report_next_steps(settings: Settings, journal: Journal, first: dict[str, Any]) -> None:
    """Print where to look at the `first` training and the monitoring, and commands to try.

    With servers in the settings, as on the stack, these are addresses: the files are in a volume.
    """
    reports = sorted((settings.state / "reports").glob("*.html"))
    addresses = browser_addresses(settings, first)
    journal.say("done. Look at:")
    for place in addresses or [first["report"], *map(str, reports)]:
        journal.say(f"  {place}")
    pages = "" if addresses else ", `mlops ui` opens MLflow, Prefect, Evidently"
    journal.say(f"`mlops status` shows the loop's state{pages}")
