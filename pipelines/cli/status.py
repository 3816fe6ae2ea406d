"""The output of `mlops status`, `mlops gate` and `mlops alerts`."""

import json
from datetime import datetime
from typing import Any

from features import durable_files
from pipelines.evaluation.formatting import format_limit, format_number, render_text
from pipelines.training import training_outcome
from serving import remedies
from serving.release import document
from settings import LoopError, Settings, UserError

NONE = "none yet. Run `mlops run`"


def print_gates(settings: Settings, as_of: datetime | None) -> bool:
    """Print the verdicts on the newest training (of `as_of`); return whether a candidate passed."""
    from rich.console import Console
    from rich.table import Table

    pattern = f"{as_of:%Y%m%dT%H%M}-*" if as_of else "*"
    files = (settings.state / "training").glob(f"{pattern}/data/*/evaluation/gates.json")
    newest = max(files, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        raise UserError("No training has been evaluated yet. Run `mlops train` or `mlops run`.")
    gates = json.loads(newest.read_text())
    table = Table(title=f"Gates of {newest.parents[3].name}", title_justify="left")
    for column in ("candidate", "gate", "verdict", "value", "limit", "what"):
        table.add_column(column, overflow="fold")
    for name, verdicts in gates["verdicts"].items():
        for each in verdicts:
            verdict = "[green]passed[/green]" if each["passed"] else "[red]refused[/red]"
            value, limit = format_number(each["value"]), format_limit(each)
            table.add_row(name, each["gate"], verdict, value, limit, each["told"])
    console = Console()
    console.print(table)
    console.print(f"Winner: {gates['winner'] or 'none'}. Report: {newest.parent}/report.html")
    return gates["winner"] is not None


def alert_lines(settings: Settings) -> list[str]:
    """Return each logged alert: start, severity, state, and the runbook to read."""
    from pipelines.operations.alerts import latest_alerts

    lines = []
    for each in latest_alerts(settings):
        command = remedies.remedy_command(remedies.code_of(each["name"]))
        state = f"resolved {each['until'][:16]}" if each["until"] else "FIRING"
        lines += [
            f"{each['since'][:16]}  {each['severity']:6}  {each['name']}: {each['summary']} "
            f"({state})",
            f"    {each['description']} See {each['runbook']}",
            *([f"    remedy: {command}"] if command else []),
        ]
    return lines or ["No alert has been recorded."]


def render_status(settings: Settings) -> str:
    """Return the champion with its data, the last decision, drift, and the last trainings."""
    from pipelines.cli.release_history import approval_lines
    from pipelines.release.audit.recorder import read_recorded_release
    from pipelines.retraining.monitor import latest_result
    from pipelines.runtime.embedded_databases import is_unused

    current = document.read_release(settings)
    if current is None:
        lost = not is_unused(settings) and read_recorded_release(settings).document.champion
        return f"Champion: {'its release file is missing. Run `mlops repair`' if lost else NONE}.\n"
    result = latest_result(settings)
    files = settings.release_file.parent / current.champion.path
    try:
        record = approval_lines(settings)
    except LoopError as error:  # the rest of the status needs no MLflow
        record = [f"Record:    {error}"]
    return render_text(
        "pipelines/cli/status.txt.j2", current=current, record=record, result=result,
        card=durable_files.read_json(files.with_name("card.json")), folder=files.parent,
        drifted=_most_drifted(result),
        serving=_serving_cost(settings),
        trainings=training_outcome.list_outcomes(settings)[-3:],
    )  # fmt: skip


def _most_drifted(result: dict[str, Any] | None) -> list[str]:
    """Return up to five features over their limit, the farthest first."""
    features = result["drift"]["features"] if result and result["drift"] else {}
    drifted = [name for name, column in features.items() if column["drifted"]]
    return sorted(drifted, key=lambda name: -features[name]["score"])[:5]


def _serving_cost(settings: Settings) -> str:
    """Return the cost of a thousand predictions, from the metrics of the running service."""
    import httpx

    from monitoring.measures.serving_cost import serving_cost, sum_samples

    try:
        page = httpx.get(f"{settings.service_url}/metrics", timeout=2)
        samples = sum_samples(page.raise_for_status().text)
        cost = serving_cost(samples, settings.params()["serving"]["price_per_cpu_hour"])
    except httpx.HTTPError as error:
        return f"no answer from {settings.service_url} ({type(error).__name__})"
    except (KeyError, ValueError):
        return f"{settings.service_url} is another service: it lacks our metrics"
    if cost is None:
        return "no predictions since the service started"
    return (
        f"{cost.per_1000:.2g} per 1,000 predictions, at {cost.cpu_ms:.2f} ms of CPU each "
        f"({cost.predictions:,} since the service started; price: params.yaml)"
    )
