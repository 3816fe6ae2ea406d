"""The output of `mlops status`, `mlops doctor`, `mlops gate` and `mlops alerts`."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines.training import training_outcome
from serving.release import document
from settings import LoopError, Settings, UserError


def print_gates(settings: Settings, as_of: datetime | None) -> bool:
    """Print the verdicts on the newest training (of `as_of`); return whether a candidate passed."""
    pattern = f"{as_of:%Y%m%dT%H%M}-*" if as_of else "*"
    files = sorted(
        (settings.var / "training").glob(f"{pattern}/data/evaluation/gates.json"),
        key=lambda path: path.stat().st_mtime,
    )
    if not files:
        raise UserError("No training has been evaluated yet. Run `mlops train` or `mlops run`.")
    newest = files[-1]
    gates = json.loads(newest.read_text())
    table = Table(title=f"Gates of {newest.parents[2].name}", title_justify="left")
    for column in ("candidate", "gate", "verdict", "value", "limit", "what"):
        table.add_column(column, overflow="fold")
    for name, verdicts in gates["verdicts"].items():
        for each in verdicts:
            verdict = "[green]passed[/green]" if each["passed"] else "[red]refused[/red]"
            value, limit = _format_number(each["value"]), _format_number(each["limit"])
            table.add_row(name, each["gate"], verdict, value, limit, each["told"])
    console = Console()
    console.print(table)
    console.print(f"Winner: {gates['winner'] or 'none'}. Report: {newest.parent}/report.html")
    return gates["winner"] is not None


def print_checks(settings: Settings) -> bool:
    """Print the result of every check of the home; return whether all passed."""
    from pipelines.operations.doctor import run_checks

    console = Console(highlight=False, soft_wrap=True)
    results = run_checks(settings)
    for subject, each in results.items():
        mark = "[green]ok  [/green]" if each.ok else "[red]fail[/red]"
        console.print(f"{mark}  {subject}: {each.message}")
        if not each.ok and each.remedy:
            console.print(f"      remedy: {each.remedy}")
    return all(each.ok for each in results.values())


def print_alerts(settings: Settings) -> None:
    """Print each logged alert: start, severity, state, and the runbook to read."""
    from pipelines.operations.alerts import latest_alerts

    alerts = latest_alerts(settings)
    console = Console(highlight=False, soft_wrap=True)
    for each in alerts:
        state = f"resolved {each['until'][:16]}" if each["until"] else "FIRING"
        console.print(
            f"{each['since'][:16]}  {each['severity']:6}  {each['name']}: {each['summary']} "
            f"({state})", markup=False,
        )  # fmt: skip
        console.print(f"    {each['description']} See {each['runbook']}", markup=False)
    if not alerts:
        console.print("No alert has been recorded.")


def print_status(settings: Settings) -> None:
    """Print the champion with its data, the last decision, drift, and the last trainings."""
    from pipelines.retraining.monitor import latest_result

    console = Console(highlight=False, soft_wrap=True)
    current = document.read_release(settings.release_file)
    if current is None:
        console.print("Champion: none yet. Run `mlops run`.")
        return
    _print_release(settings, console, current)
    result = latest_result(settings)
    if result is None:
        console.print("Monitor:   nothing measured yet. Run `mlops monitor`.")
    else:
        _print_monitoring(console, result)
    console.print(f"Serving:   {_serving_cost(settings)}")
    for outcome in training_outcome.list_outcomes(settings)[-3:]:
        console.print(f"Training:  as of {outcome['as_of'][:10]} ({outcome['reason']})")
        console.print(f"           {outcome['told']}")


def _print_release(settings: Settings, console: Console, current: document.Release) -> None:
    """Print champion, challenger, freeze, and the approvals and overrides on record."""
    from pipelines.cli.release_history import approval_lines

    model = current.champion
    files = (settings.release_file.parent / model.path).parent
    card = json.loads((files / "card.json").read_text())
    console.print(
        f"Champion:  version {model.version}, {card['candidate']} (release {current.generation}, "
        f"changed {current.changed_at:%Y-%m-%d %H:%M} UTC)"
    )
    if (challenger := current.challenger) is not None:
        share = f" at {challenger.percent:g} %" if challenger.percent else ""
        name = f" ({challenger.name})" if challenger.name else ""
        console.print(
            f"Challenger: version {challenger.model.version}, {challenger.stage}{share}{name}, "
            f"since {challenger.since:%Y-%m-%d %H:%M} UTC"
        )
    if current.frozen:
        console.print("FROZEN:    nothing is released until `mlops unfreeze`")
    try:
        lines = approval_lines(settings)
    except LoopError as error:  # the rest of the status needs no MLflow
        lines = [f"Record:    {error}"]
    for line in lines:
        console.print(line, markup=False)
    md5 = card["dvc_md5_training"]
    console.print(f"Digest:    {model.digest}")
    console.print(f"Data:      known by {card['data_until'][:16]} UTC, DVC md5 {md5}")
    console.print(f"           (`mlops restore {md5} TARGET` restores it)")


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
        f"({cost.predictions:,} since the service started; price: usecase/params.yaml)"
    )


def _print_monitoring(console: Console, result: dict[str, Any]) -> None:
    answer = "yes" if result["retrain"] else "no"
    console.print(f"Decision:  retrain {answer}, as of {result['as_of'][:10]}")
    console.print(f"           {result['reason']}")
    if result["live"] is not None and result.get("estimated") is not None:
        console.print(
            f"Cost:      {result['live']['cost_per_1000']:.0f} per 1,000 by known labels; "
            f"{result['estimated']:.0f} for the last week, estimated from its probabilities"
        )
    drift = result["drift"]
    if drift is None:
        console.print("Drift:     could not be measured")
        return
    drifted = sorted(
        (name for name, column in drift["features"].items() if column["drifted"]),
        key=lambda name: -drift["features"][name]["score"],
    )
    console.print(
        f"Drift:     {drift['share']:.0%} of the features are over their limit"
        + (f": {', '.join(drifted[:5])}" if drifted else "")
    )


def _format_number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
