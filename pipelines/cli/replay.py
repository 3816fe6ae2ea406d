"""The commands of the replay: months of simulated days by policy, and the report on them."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.app import app, home_settings, report_errors

FirstDay = Annotated[str, typer.Option("--from", help="First simulated day, UTC.")]
EndDay = Annotated[str, typer.Option("--to", help="The day at whose start it ends.")]


@app.command()
def replay(
    since: FirstDay = "2013-04-01",
    until: EndDay = "2013-12-31",
    policy: Annotated[
        list[str] | None,
        typer.Option(help="A name in replay.policies, several joined by +, or all; repeatable."),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="The same steps without servers, stores and flows.")
    ] = False,
    sensitivity: Annotated[
        bool, typer.Option(help="Fast: the default policy with other limits, too.")
    ] = False,
) -> None:
    """Months of production, day by day, through the real service; what the policy cost.

    On a stack that the settings name: by its parts, its state and its policy.
    """
    with report_errors():
        settings = home_settings()  # first: it says how many threads the imports may start
        from pipelines.replay import fast_replay as replays
        from pipelines.replay import policy_table, served_replay, stack_replay
        from pipelines.runtime.stage_command import parse_time
        from settings import UserError

        first, end = parse_time(since, "--from"), parse_time(until, "--to")
        names = policy or [settings.params()["replay"]["default"]]
        if sensitivity and not fast:
            raise UserError("The sensitivity is replayed fast alone: add --fast.")
        if fast:
            found = replays.replay_policies(settings, first, end, names, typer.echo)
        elif stack_replay.uses_running_stack(settings):
            found = stack_replay.replay_on_stack(settings, first, end, policy or [])
        else:
            found = served_replay.replay_through_service(settings, first, end, names)
        if sensitivity:
            found |= replays.replay_sensitivity(settings, first, end, typer.echo)
        typer.echo(policy_table.format_policy_table(found, settings.params()))


@app.command("report")
def report(since: FirstDay = "2013-04-01", until: EndDay = "2013-12-31") -> None:
    """One page on the policies that were replayed: did monitoring notice, did retraining pay?"""
    with report_errors():
        from pipelines.replay import replay_page
        from pipelines.runtime.stage_command import parse_time

        settings = home_settings()
        path = replay_page.write_replay_page(
            settings, parse_time(since, "--from"), parse_time(until, "--to")
        )
        typer.echo(f"Written: {path}")
