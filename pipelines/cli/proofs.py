"""Commands that prove the guards, reproduce a version and restore its data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.common import Version, home_settings, report_errors

if TYPE_CHECKING:
    from settings import Settings

app = typer.Typer()


@app.command()
def prove(
    only: Annotated[str | None, typer.Option(help="Only cases whose text contains this.")] = None,
    rollout: Annotated[bool, typer.Option(help="Only challengers in the rollout.")] = False,
    monitoring: Annotated[bool, typer.Option(help="Only faults in the feeds.")] = False,
) -> None:
    """Send bad models and faulty data through the loop; exit code 1 if a guard misses one."""
    with report_errors():
        settings = home_settings()
        if monitoring:
            from pipelines.proofs import monitoring_proofs

            typer.echo("Putting faults into the feeds ...")
            proofs = monitoring_proofs.prove_monitoring(settings, only)
            passed = monitoring_proofs.print_fault_proofs(proofs)
        else:
            passed = (bool(only) or _prove_rollout(settings)) and (
                rollout or _prove_gates(settings, only)
            )
        if not passed:
            raise typer.Exit(1)


def _prove_rollout(settings: Settings) -> bool:
    from pipelines.proofs import rollout_proofs

    return rollout_proofs.print_challenger_proofs(rollout_proofs.prove_rollout(settings))


def _prove_gates(settings: Settings, only: str | None) -> bool:
    """A selection of cases proves no gate complete, so it writes no page."""
    from pipelines.proofs import gate_proofs

    typer.echo("Making bad candidates ...")
    proofs = gate_proofs.prove_gates(settings, only)
    passed = gate_proofs.print_gate_proofs(proofs)
    if only:
        return passed
    unproven = gate_proofs.list_unproven_gates(proofs)
    for name in unproven:
        typer.secho(f"No case proves the gate '{name}'.", fg=typer.colors.RED)
    typer.echo(f"Page: {settings.var / 'reports' / 'prove.html'}")
    return passed and not unproven


@app.command()
def reproduce(version: Version) -> None:
    """Rebuild a version from its recorded data, parameters and code; exit code 1 if it differs."""
    with report_errors():
        from pipelines.registry.reproduce import reproduce_version

        typer.echo(f"Rebuilding version {version} ...")
        rebuilt = reproduce_version(home_settings(), version)
        for line in rebuilt.notes:
            typer.echo(f"{line}.")
        for name, (before, now) in rebuilt.differing_metrics.items():
            typer.echo(f"  {name}: {before:.6g} on record, {now:.6g} now ({now - before:+.2g})")
        if not rebuilt.same:
            typer.echo(
                f"Version {version} is not the same bit for bit: its digest is "
                f"{rebuilt.digest[:12]} now."
            )
            raise typer.Exit(1)
        typer.echo(f"Version {version} is the same bit for bit: digest {rebuilt.digest[:12]}.")


@app.command()
def restore(
    md5: Annotated[str, typer.Argument(help="The version's tag `dvc_md5_training`.")],
    target: Annotated[str, typer.Argument(help="Path to write to; must not exist.")],
) -> None:
    """Restore the exact training set of a version."""
    with report_errors():
        from pathlib import Path

        from pipelines.training import dvc_stages

        dvc_stages.restore_output(home_settings(), md5, Path(target))
        typer.echo(f"Restored to {target}.")
