"""The process of a served replay: one simulated day after the other through the real parts.

`served_replay` starts it, in the replay's own home or on a running stack. A day begins
with rollout, monitoring, and the retraining that monitoring's event starts. Then its cases are sent
over HTTP, each at its decision time. A record is written when the day is over, and a restart
continues after the last record. The parts themselves detect what a killed day had done.
"""

import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

from rich.console import Console

from features import durable_files
from pipelines.flows import processes, turn, turn_rollout, turn_steps
from pipelines.flows.journal import Journal
from pipelines.release import rollout_controller
from pipelines.replay import platform_figures, served_record, served_replay
from pipelines.replay.served_record import DAY
from pipelines.runtime import clock, exclusive, interrupts, stage_command
from pipelines.training import training_outcome
from settings import Settings


def run_days(settings: Settings, first: datetime, end: datetime) -> None:
    """Run the days from `first` to `end` without a record; print a line for each.

    The output of the parts goes to `var/usecases/<name>/logs/replay.log`.
    """
    from pipelines.flows import flow_runs

    log = settings.state / "logs" / "replay.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as lines, exclusive.run_lock(settings):
        journal = Journal(Console(file=lines, highlight=False, soft_wrap=True))
        turn.clear_killed_run(settings, journal)
        if served_replay.uses_running_stack(settings):
            served_replay.claim_stack(settings, first)
        done = served_record.read_day_records(served_record.records_folder(settings))
        n_done, n_days = len(done), (end - first).days
        if n_done >= n_days:
            return
        with processes.prefect_server(settings):
            meter = platform_figures.Meter(settings)
            clock.advance_to(settings, first)
            online = turn_steps.is_online_store_before(settings, first)
            turn_steps.run_ingestion(settings, journal, first, online=online)
            turn_steps.train_first_model(settings, journal, first)  # champion at once
            await_service = processes.start_service(settings)
            require_runner, await_runner = processes.start_runner(settings)
            await_service()
            await_runner()
            meter.close("the first model")
            try:
                for number in range(n_done, n_days):
                    day = first + number * DAY
                    run_day(settings, journal, meter, first, end, day, require_runner,
                            ingest=number == n_done)  # fmt: skip
                clock.advance_to(settings, end)
            finally:
                counts = flow_runs.count_runs_by_state(settings)
                durable_files.write_json(platform_figures.flow_run_counts_path(settings), counts)


def run_day(
    settings: Settings, journal: Journal, meter: platform_figures.Meter, first: datetime,
    end: datetime, day: datetime, require_runner: Callable[[], object], *, ingest: bool,
) -> None:  # fmt: skip
    """Run the day that begins at `day`, store its record and print its line.

    With `ingest`, or on the first day of a batch, the batch's days are ingested and the log's
    closed segments are compacted. Each row records when it became known, and no step uses it
    earlier; `mlops run` does the same.
    """
    from pipelines.flows import flows
    from pipelines.runtime import traffic

    batch, at = settings.params()["replay"]["batch_days"], (day - first).days
    if ingest or at % batch == 0:
        with meter.stage("ingest"):
            until = first + (at // batch + 1) * batch * DAY
            flows.ingest_flow(as_of=min(until, end), online=False)
        with meter.stage("log"):
            flows.compact_flow()
    clock.advance_to(settings, day)
    rollout: dict[str, Any] = {}
    decision: dict[str, Any] | None = None
    if rollout_controller.rollout_challenger(settings) is not None:
        with meter.stage("rollout"):
            rollout = flows.rollout_flow(as_of=day)
    if day > first:  # nothing was predicted before the first day
        with meter.stage("monitoring"):
            decision = turn_steps.run_monitoring(settings, journal, day)
        if decision["retrain"]:
            with meter.stage("retraining"):
                turn_steps.finish_retraining(settings, journal, decision, day, require_runner)
    with meter.stage("cases"):
        turn_rollout.wait_for_release(settings)
        n_sent = traffic.send_cases(settings, day, day + DAY, together=True)
    outcome = training_outcome.find_outcome(settings, day) if day > first else None
    record = served_record.build_day_record(
        settings, day, sum(n_sent.values()), rollout, decision, outcome
    )
    served_record.append_day_record(served_record.records_folder(settings), record)
    seconds = meter.close(record["day"])["seconds"]
    print(served_record.format_day_line(settings, record, seconds), flush=True)


def main() -> None:
    first, end = (stage_command.parse_time(text) for text in sys.argv[1:])
    with interrupts.ended_by_signals(""):  # `mlops replay` prints the line
        stage_command.run_stage_command(lambda settings, _: run_days(settings, first, end))


if __name__ == "__main__":
    main()
