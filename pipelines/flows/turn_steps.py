"""The steps of a turn: each runs a flow or sends traffic, and reports to the journal."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from pipelines.flows.journal import Journal, place
from pipelines.training import training_outcome
from pipelines.training.training_files import TrainingFiles
from settings import LoopError, Settings

RETRAINING_TIMEOUT = 600.0  # seconds from the event to the end of the retraining


def run_ingestion(
    settings: Settings, journal: Journal, as_of: datetime, *, online: bool = True
) -> None:
    """Validate the batches known by `as_of`, build features, and publish them if `online`."""
    from pipelines.flows import flows
    from pipelines.ingestion import accepted_batches, validate

    with journal.component("1 Data ingestion and validation") as row:
        journal.say(f"daily batches up to {as_of:%d %B %Y}: fetch and validate")
        result = flows.ingest_flow(as_of=as_of, online=online)
        for feed, summary in result["validated"].items():
            if summary["batches"]:
                journal.say(f"  {validate.format_feed_summary(feed, summary)}")
        quarantined = accepted_batches.count_quarantined(settings).total()
        row.ran = "Great Expectations on every daily batch"
        row.decided = f"{quarantined:,} rows quarantined, no batch refused"
        row.evidence = place(settings, settings.data / "quarantine")
    with journal.component("2 Features and store") as row:
        published = f", published online as of {as_of:%d %B %Y}" if online else ""
        journal.say(f"{sum(result['built'].values())} days of feature tables built{published}")
        row.ran = f"Feast, {len(result['built'])} tables, offline and online"
        row.decided = f"features up to {as_of:%Y-%m-%d}"
        row.evidence = place(settings, settings.data / "features")


def is_online_store_before(settings: Settings, moment: datetime) -> bool:
    """Whether the online store is older than `moment`; a rerun must not set it back."""
    from features.publication_record import published_until

    until = published_until(settings)
    return until is None or until < moment


def train_first_model(settings: Settings, journal: Journal, as_of: datetime) -> dict[str, Any]:
    """Train as of `as_of`, unless that is done; report the outcome and return it."""
    from pipelines.flows import flows

    outcome = training_outcome.find_outcome(settings, as_of)
    with journal.component("3 Experiment tracking and training") as row:
        if outcome is None:
            journal.say("train candidates, evaluate them on the newest weeks, gate, register")
            report_training_steps(journal)
            flows.train_flow(as_of=as_of, reason="first model", codes="first_model")
            outcome = training_outcome.find_outcome(settings, as_of)
        if outcome is None or outcome["version"] is None:
            reason = outcome["told"] if outcome else "it did not finish."
            raise LoopError(f"The first training gave no model: {reason}")
        if outcome.get("refused") and not settings.release_file.exists():
            raise LoopError(f"{outcome['told']} Promote it, then run `mlops run` again.")
        files = _files(settings, outcome)
        row.ran = f"{', '.join(files.metrics)}; an MLflow run for each"
        row.decided = f"winner of {as_of:%Y-%m-%d}: see the report"
        row.evidence = place(settings, files.path)
    report_training(settings, journal, outcome)
    return outcome


def report_training_steps(journal: Journal) -> None:
    """Print a line for each long step of a training when it starts in this process."""
    from pipelines.flows import tasks

    def report_start(task: Any, run: Any, _state: Any) -> None:
        journal.say(f"  {run.name if task.task_run_name else task.name}")

    for step in (tasks.run_stage, tasks.log_training, tasks.register_version):
        step.on_running(report_start)


def report_training(settings: Settings, journal: Journal, outcome: dict[str, Any]) -> None:
    """Report the metrics, the gates and the registered version of a training."""
    from pipelines.evaluation import formatting

    files = _files(settings, outcome)
    with journal.component("4 Evaluation and gates") as row:
        for line in formatting.metric_lines(files.metrics):
            journal.say(line)
        passed = [each["passed"] for judged in files.gates["verdicts"].values() for each in judged]
        row.ran = f"{len(passed)} gates on candidates"
        row.decided = f"{sum(passed)} passed, {len(passed) - sum(passed)} refused"
        row.evidence = place(settings, files.data / "evaluation" / "report.html")
    with journal.component("5 Registry and versioning") as row:
        journal.say(outcome["told"])
        row.ran = "refit on all known data, artefact gates, MLflow registry"
        row.decided = outcome["told"].split(":")[0]
        row.evidence = f"models:/{settings.usecase}@champion"


def _files(settings: Settings, outcome: Mapping[str, Any]) -> TrainingFiles:
    path = settings.state / "training" / outcome["training_id"]
    return TrainingFiles(path, settings.use_case)


def send_traffic(settings: Settings, journal: Journal, start: datetime, end: datetime) -> None:
    """Send the real cases between `start` and `end` to the service, in order of decision time."""
    from pipelines.runtime import traffic

    reported_days: set[date] = set()

    def report_progress(moment: datetime, done: int, total: int) -> None:
        if moment.date() not in reported_days:
            reported_days.add(moment.date())
            journal.say(f"  {moment:%d %B %Y}: {done:,} of {total:,} cases answered")

    with journal.component("6 Deployment and serving") as row:
        journal.say("send real cases over HTTP in order of decision time: first one by one")
        single_until = min(start + timedelta(days=settings.params()["turn"]["alone_days"]), end)
        single = traffic.send_cases(settings, start, single_until, report_progress)
        journal.say("then in batches of cases that use the same features")
        batched = traffic.send_cases(settings, single_until, end, report_progress, together=True)
        asked, logged_before = (single[key] + batched[key] for key in ("asked", "logged_before"))
        journal.say(f"{asked:,} sent now, {logged_before:,} already in the prediction log")
        row.ran = "BentoML service, features from the online store"
        row.decided = f"{asked + logged_before:,} predictions, all logged"
        row.evidence = place(settings, settings.predictions)


def run_monitoring(
    settings: Settings, journal: Journal, as_of: datetime, every_days: float | None = None
) -> dict[str, Any]:
    """Measure live performance and drift with the known labels, and return the decision."""
    from pipelines.flows import flows
    from pipelines.retraining import monitor

    with journal.component("7 Monitoring and feedback") as row:
        journal.say("labels become known: live performance, drift, decision")
        # After its retraining the flow must not run again: it would request another one.
        retrained = training_outcome.find_outcome(settings, as_of) is not None
        decision: dict[str, Any] = (
            monitor.monitor_champion(settings, as_of)
            if retrained
            else flows.monitor_flow(as_of=as_of, every_days=every_days)
        )
        retrain = f"retrain: {'yes' if decision['retrain'] else 'no'}"
        journal.say(f"{retrain}. {decision['reason']}")
        row.ran = "performance with late labels, Evidently drift report"
        row.decided = retrain
        row.evidence = place(settings, settings.state / "reports", settings.state / "evidently")
    return decision


def turn_every_days(params: Mapping[str, Any]) -> float:
    """Return the policy's `every_days`, at most the turn's days: a turn ends with a retraining."""
    return float(min(params["monitoring"]["policy"]["every_days"], params["turn"]["traffic_days"]))


def finish_retraining(
    settings: Settings, journal: Journal, decision: dict[str, Any], as_of: datetime,
    require_runner: Callable[[], object],
) -> None:  # fmt: skip
    """Wait for the retraining that the event started, if any, and report its outcome."""
    if not decision["retrain"]:
        journal.say("no retraining is due: the turn ends here")
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
            log = settings.state / "logs" / "prefect-runner.log"
            raise LoopError(f"The retraining has no outcome. See {log}.")
    report_training(settings, journal, outcome)
