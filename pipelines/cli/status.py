"""Where things stand, read from what the stages left behind."""

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
    """Prints the verdicts of the newest training (as of `as_of`); whether a candidate passed."""
    pattern = f"{as_of:%Y%m%dT%H%M}-*" if as_of else "*"
    found = sorted(
        (settings.var / "training").glob(f"{pattern}/data/evaluation/gates.json"),
        key=lambda path: path.stat().st_mtime,
    )
    if not found:
        raise UserError("No training has been evaluated yet: run `mlops train` or `mlops run`.")
    judged = json.loads(found[-1].read_text())
    table = Table(title=f"Gates of {found[-1].parents[2].name}", title_justify="left")
    for column in ("candidate", "gate", "verdict", "value", "limit", "what"):
        table.add_column(column, overflow="fold")
    for name, verdicts in judged["verdicts"].items():
        for each in verdicts:
            verdict = "[green]passed[/green]" if each["passed"] else "[red]refused[/red]"
            table.add_row(
                name, each["gate"], verdict, _number(each["value"]), _number(each["limit"]),
                each["told"],
            )  # fmt: skip
    console = Console()
    console.print(table)
    console.print(f"Winner: {judged['winner'] or 'none'}. Report: {found[-1].parent}/report.html")
    return judged["winner"] is not None


def print_alerts(settings: Settings) -> None:
    """Prints every recorded alert: its state, how bad it is, since when, what to read."""
    from pipelines.operations.alerts import latest_alerts

    found = latest_alerts(settings)
    console = Console(highlight=False, soft_wrap=True)
    for each in found:
        state = f"resolved {each['until'][:16]}" if each["until"] else "FIRING"
        console.print(
            f"{each['since'][:16]}  {each['severity']:6}  {each['name']}: {each['summary']} "
            f"({state})", markup=False,
        )  # fmt: skip
        console.print(f"    {each['description']} See {each['runbook']}", markup=False)
    if not found:
        console.print("No alert has been recorded.")


def print_status(settings: Settings) -> None:
    """Prints what is champion, since when, from which data; last drift, last decision."""
    from pipelines.retraining.monitor import latest_result

    console = Console(highlight=False, soft_wrap=True)
    current = document.read_release(settings.release_file)
    if current is None:
        console.print("Champion: none yet. Run `mlops run`.")
        return
    model = current.champion
    served = settings.release_file.parent / model.path
    card = json.loads((served.parent / "card.json").read_text())
    console.print(
        f"Champion:  version {model.version}, {card['candidate']} (release {current.generation}, "
        f"changed {current.changed_at:%Y-%m-%d %H:%M} UTC)"
    )
    _tell_release(settings, console, current)
    console.print(f"Digest:    {model.digest}")
    console.print(
        f"Data:      known by {card['data_until'][:16]} UTC, DVC md5 {card['dvc_md5_training']}"
    )
    console.print(f"           (`mlops restore {card['dvc_md5_training']} TARGET` gives it back)")
    found = latest_result(settings)
    if found is None:
        console.print("Monitor:   nothing measured yet. Run `mlops monitor`.")
    else:
        _tell_monitoring(console, found)
    console.print(f"Serving:   {_told_serving(settings)}")
    for outcome in training_outcome.list_outcomes(settings)[-3:]:
        console.print(f"Training:  as of {outcome['as_of'][:10]} ({outcome['reason']})")
        console.print(f"           {outcome['told']}")


def _told_serving(settings: Settings) -> str:
    """What a thousand predictions cost, as the service that runs tells it."""
    import httpx

    from monitoring.measures.serving_cost import serving_cost, sum_samples

    try:
        page = httpx.get(f"{settings.service_url}/metrics", timeout=2)
        samples = sum_samples(page.raise_for_status().text)
        found = serving_cost(samples, settings.params()["serving"]["price_per_cpu_hour"])
    except httpx.HTTPError as error:
        return f"no answer from {settings.service_url} ({type(error).__name__})"
    except (KeyError, ValueError):
        return f"{settings.service_url} is another service: it gives no metrics of ours"
    if found is None:
        return "nothing predicted since it was started"
    return (
        f"{found.per_1000:.2g} per 1,000 predictions, at {found.cpu_ms:.2f} ms of CPU each "
        f"({found.predictions:,} since it was started; price: usecase/params.yaml)"
    )


def _tell_release(settings: Settings, console: Console, current: document.Release) -> None:
    """The challenger, the freeze and, from the record, approvals and overrides."""
    from pipelines.cli.release_history import approval_lines

    if (challenger := current.challenger) is not None:
        share = f" at {challenger.percent:g} %" if challenger.percent else ""
        console.print(
            f"Beside it: version {challenger.model.version}, {challenger.stage}{share}"
            f"{f' ({challenger.name})' if challenger.name else ''}, since "
            f"{challenger.since:%Y-%m-%d %H:%M} UTC"
        )
    if current.frozen:
        console.print("FROZEN:    nothing is released until `mlops unfreeze`")
    try:
        lines = approval_lines(settings)
    except LoopError as error:  # the rest of the status needs no MLflow
        lines = [f"Record:    {error}"]
    for line in lines:
        console.print(line, markup=False)


def _tell_monitoring(console: Console, found: dict[str, Any]) -> None:
    answer = "yes" if found["retrain"] else "no"
    console.print(f"Decision:  retrain {answer}, as of {found['as_of'][:10]}")
    console.print(f"           {found['reason']}")
    if found["live"] is not None and found.get("estimated") is not None:
        console.print(
            f"Cost:      {found['live']['cost_per_1000']:.0f} per 1,000 by the labels known; "
            f"of the last week {found['estimated']:.0f} by its probabilities"
        )
    drift = found["drift"]
    if drift is None:
        console.print("Drift:     could not be measured")
        return
    moved = sorted(
        (name for name, column in drift["features"].items() if column["drifted"]),
        key=lambda name: -drift["features"][name]["score"],
    )
    console.print(
        f"Drift:     {drift['share']:.0%} of the features moved beyond their limit"
        + (f": {', '.join(moved[:5])}" if moved else "")
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
