"""The commands of trust: are the gates worth theirs, and can a version be made again?"""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.app import app, home_settings, report_errors


@app.command()
def prove(
    only: Annotated[str | None, typer.Option(help="Cases whose words contain this.")] = None,
    rollout: Annotated[bool, typer.Option(help="The rollout alone, not the gates.")] = False,
    monitoring: Annotated[bool, typer.Option(help="Faults in the feeds alone.")] = False,
) -> None:
    """Put bad models and faulty batches through the loop; exit code 1 if one is not noticed."""
    with report_errors():
        settings = home_settings()
        if monitoring:
            from pipelines.proofs import monitoring_proofs

            typer.echo("Putting faults into the feeds ...")
            if not monitoring_proofs.print_fault_proofs(
                monitoring_proofs.prove_monitoring(settings, only)
            ):
                raise typer.Exit(1)
            return
        from pipelines.proofs import gate_proofs as proof
        from pipelines.proofs import rollout_proofs

        if not only and not rollout_proofs.print_challenger_proofs(
            rollout_proofs.prove_rollout(settings)
        ):
            raise typer.Exit(1)
        if rollout:
            return
        typer.echo("Making bad candidates ...")
        found = proof.prove_gates(settings, only)
        holds = proof.print_gate_proofs(found)
        unproven = [] if only else proof.list_unproven_gates(found)
        for name in unproven:
            typer.secho(f"No case proves the gate '{name}'.", fg=typer.colors.RED)
        if not only:
            typer.echo(f"The page: {settings.var / 'reports' / 'prove.html'}")
        if not holds or unproven:
            raise typer.Exit(1)


@app.command()
def reproduce(
    version: Annotated[str, typer.Argument(help="Number of the version in the registry.")],
) -> None:
    """Make a version again from its data, parameters and code; exit code 1 if it differs."""
    with report_errors():
        from pipelines.registry import reproduce as again

        typer.echo(f"Making version {version} again ...")
        found = again.reproduce_version(home_settings(), version)
        for line in found.told:
            typer.echo(f"{line}.")
        for name, (before, now) in found.differing.items():
            typer.echo(f"  {name}: {before:.6g} on record, {now:.6g} now ({now - before:+.2g})")
        if not found.same:
            typer.echo(f"Version {version} is not the same bit for bit: its digest is "
                       f"{found.digest[:12]} now.")  # fmt: skip
            raise typer.Exit(1)
        typer.echo(f"Version {version} is the same bit for bit: digest {found.digest[:12]}.")
