"""Commands that replay months of simulated days by retraining policy, and report on them."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.common import home_settings, report_errors

app = typer.Typer()

FirstDay = Annotated[str, typer.Option("--from", help="First simulated day, UTC.")]
EndDay = Annotated[str, typer.Option("--to", help="End: the day after the last one, UTC.")]


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
        bool, typer.Option(help="With --fast: also replay the default policy with other limits.")
    ] = False,
) -> None:
    """Replay months of production through the real service; print the cost of each policy.

    With a stack named in the settings, it runs on that stack, with its state and policy.
    """
    with report_errors():
        settings = home_settings()  # first: it limits the threads of the imports below
        from pipelines.replay import fast_replay, policies, served_replay
        from pipelines.runtime.stage_command import parse_time
        from settings import UserError

        first, end = parse_time(since, "--from"), parse_time(until, "--to")
        params = settings.params()
        if sensitivity and not fast:
            raise UserError("--sensitivity works only in the fast replay. Add --fast.")
        if not fast and served_replay.uses_running_stack(settings):
            costs = served_replay.replay_on_stack(settings, first, end, policy or [])
        else:
            chosen = policies.choose_policies(params, policy or [params["replay"]["default"]])
            chosen |= policies.sensitivity_policies(params) if sensitivity else {}
            costs = (
                fast_replay.replay_policies(settings, first, end, chosen, typer.echo)
                if fast
                else served_replay.replay_through_service(settings, first, end, chosen)
            )
        typer.echo(policies.format_policy_table(costs, params))


@app.command()
def report(since: FirstDay = "2013-04-01", until: EndDay = "2013-12-31") -> None:
    """Write one page on the replayed policies: what monitoring noticed, what retraining saved."""
    with report_errors():
        from pipelines.replay.replay_page import write_replay_page
        from pipelines.runtime.stage_command import parse_time

        first, end = parse_time(since, "--from"), parse_time(until, "--to")
        typer.echo(f"Written: {write_replay_page(home_settings(), first, end)}")
