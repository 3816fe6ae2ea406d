"""Commands that prove the guards, rebuild a version or its data, and replay months of days."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.cli.common import Version, home_settings

app = typer.Typer()
replays = typer.Typer()

FirstDay = Annotated[
    str | None, typer.Option("--from", help="First simulated day, UTC; default: as_of.")
]
EndDay = Annotated[
    str | None,
    typer.Option(
        "--to",
        help="End: the day after the last one, UTC; default: the day before replay.until.",
    ),
]


@app.command()
def prove(
    only: Annotated[str | None, typer.Option(help="Only cases whose text contains this.")] = None,
    rollout: Annotated[bool, typer.Option(help="Only challengers in the rollout.")] = False,
    monitoring: Annotated[bool, typer.Option(help="Only faults in the feeds.")] = False,
) -> None:
    """Send bad models and faulty data through the loop; exit code 1 if a guard misses one."""
    settings = home_settings()  # first: it limits the threads of the imports below
    from pipelines.proofs import gate_proofs, monitoring_proofs, proof_runs, rollout_proofs

    kinds = {
        "rollout": rollout_proofs.prove_rollout,
        "gates": gate_proofs.prove_gates,
        "monitoring": monitoring_proofs.prove_monitoring,
    }
    if monitoring:
        chosen = ["monitoring"]
    elif rollout:
        chosen = ["rollout"]
    else:
        chosen = ["gates"] if only else ["rollout", "gates"]
    for kind in chosen:
        typer.echo(f"Proofs of {kind} ...")
        name = "prove.html" if kind == "gates" else f"prove-{kind}.html"
        page = None if only else settings.state / "reports" / name
        proofs = kinds[kind](settings, only)
        if not proof_runs.report_proofs(proofs, f"Proofs of {kind}", page):
            raise typer.Exit(1)


@app.command()
def reproduce(version: Version) -> None:
    """Rebuild a version from its recorded data, parameters and code; exit code 1 if it differs."""
    from pipelines.registry.reproduce import reproduce_version

    typer.echo(f"Rebuilding version {version} ...")
    rebuilt = reproduce_version(home_settings(), version)
    for line in rebuilt.notes:
        typer.echo(f"{line}.")
    for name, (before, now) in rebuilt.differing_metrics.items():
        typer.echo(f"  {name}: {before:.6g} on record, {now:.6g} now ({now - before:+.2g})")
    same = "is" if rebuilt.same else "is not"
    typer.echo(f"Version {version} {same} the same bit for bit: digest {rebuilt.digest[:12]}.")
    if not rebuilt.same:
        raise typer.Exit(1)


@app.command()
def restore(
    md5: Annotated[str, typer.Argument(help="The version's tag `dvc_md5_training`.")],
    target: Annotated[str, typer.Argument(help="Path to write to; must not exist.")],
) -> None:
    """Restore the exact training set of a version."""
    from pipelines.training import dvc_stages

    dvc_stages.restore_output(home_settings(), md5, Path(target))
    typer.echo(f"Restored to {target}.")


@replays.command()
def replay(
    since: FirstDay = None,
    until: EndDay = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(help="A name in replay.policies, several joined by +, or all; repeatable."),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="The same steps without servers, stores and flows.")
    ] = False,
    sensitivity: Annotated[
        bool, typer.Option(help="With --fast: also replay the default policy with other limits.")
    ] = False,
) -> None:
    """Replay months of production through the real service; print the cost of each policy.

    With a stack named in the settings, it runs on that stack, with its state and policy.
    """
    settings = home_settings()  # first: it limits the threads of the imports below
    from pipelines.replay import fast_replay, policies, served_replay
    from settings import UserError

    params = settings.params()
    first, end = _replayed_period(params, since, until)
    if sensitivity and not fast:
        raise UserError("--sensitivity works only in the fast replay. Add --fast.")
    if not fast and served_replay.uses_running_stack(settings):
        costs = served_replay.replay_on_stack(settings, first, end, policy or [])
    else:
        chosen = policies.choose_policies(params, policy or [params["replay"]["default"]])
        chosen |= policies.sensitivity_policies(params) if sensitivity else {}
        costs = (
            fast_replay.replay_policies(settings, first, end, chosen)
            if fast
            else served_replay.replay_through_service(settings, first, end, chosen)
        )
    typer.echo(policies.format_policy_table(costs, params))


@replays.command()
def report(since: FirstDay = None, until: EndDay = None) -> None:
    """Write one page on the replayed policies: what monitoring noticed, what retraining saved."""
    from pipelines.replay.replay_page import write_replay_page

    settings = home_settings()
    first, end = _replayed_period(settings.params(), since, until)
    typer.echo(f"Written: {write_replay_page(settings, first, end)}")


def _replayed_period(
    params: Mapping[str, Any], since: str | None, until: str | None
) -> tuple[datetime, datetime]:
    """Return first day and end; the default end leaves a day of the data for the last labels."""
    from pipelines.runtime.stage_command import parse_time
    from settings import UserError

    last = parse_time(params["replay"]["until"], "replay.until") - timedelta(days=1)
    first = parse_time(since if since is not None else params["as_of"], "--from")
    end = parse_time(until, "--to") if until is not None else last
    if end <= first:
        raise UserError(
            f"The replay from {first:%Y-%m-%d} to {end:%Y-%m-%d} has no day. Set replay.until in "
            "params.yaml to the end of the data, or choose other days with --from and --to."
        )
    return first, end
