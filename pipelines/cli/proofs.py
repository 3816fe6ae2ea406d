"""Commands that prove the guards, reproduce a version and restore its data."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.common import Version, home_settings, report_errors

app = typer.Typer()


@app.command()
def prove(
    only: Annotated[str | None, typer.Option(help="Only cases whose text contains this.")] = None,
    rollout: Annotated[bool, typer.Option(help="Only challengers in the rollout.")] = False,
    monitoring: Annotated[bool, typer.Option(help="Only faults in the feeds.")] = False,
) -> None:
    """Send bad models and faulty data through the loop; exit code 1 if a guard misses one."""
    with report_errors():
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
            page = None if only else settings.var / "reports" / name
            proofs = kinds[kind](settings, only)
            if not proof_runs.report_proofs(proofs, f"Proofs of {kind}", page):
                raise typer.Exit(1)


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
