"""The servers of `mlops ui`: MLflow, Prefect, Evidently, and the static reports."""

import os
import sys
import time
import webbrowser
from pathlib import Path

from rich.console import Console

from pipelines.runtime import child_processes, exclusive, prefect_commands, server_health
from settings import Settings


def serve_uis(settings: Settings) -> None:
    """Start the servers, print their addresses, and stop them at Ctrl-C."""
    console = Console(highlight=False, soft_wrap=True)
    module, local = [sys.executable, "-m"], ["--host", "127.0.0.1", "--port"]
    mlflow, evidently = str(settings.mlflow_port), str(settings.evidently_port)
    docs, var = str(settings.docs_port), str(settings.var)
    servers = {
        "MLflow (runs, models, lineage)": (settings.mlflow_port, [
            *module, "mlflow", "server", "--workers", "1",
            "--backend-store-uri", settings.mlflow_uri, *local, mlflow,
        ]),
        "Prefect (flows, automations)": (
            settings.prefect_port, prefect_commands.prefect_server_command(settings)
        ),
        "Evidently (drift over time)": (settings.evidently_port, [
            *module, "evidently.cli", "ui", "--workspace", f"{var}/evidently", *local, evidently,
        ]),
        "Data docs and reports": (settings.docs_port, [
            *module, "http.server", "--bind", "127.0.0.1", "--directory", var, docs,
        ]),
    }  # fmt: skip
    environment = {
        **os.environ, **settings.environment(), **prefect_commands.prefect_environment(settings),
        # Saves eight processes that wait for evaluations of chat models; none is started here.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }  # fmt: skip
    with exclusive.run_lock(settings):
        child_processes.stop_children(settings)
        for title, (port, _) in servers.items():
            exclusive.require_port_free(port, title, "the MLOPS_..._PORT of that page")
        try:
            for title, (port, command) in servers.items():
                name = "ui-" + title.split(" ")[0].lower()
                child = child_processes.start_child(settings, name, command, environment)
                server_health.wait_until_healthy(child, f"http://127.0.0.1:{port}/", 90)
                console.print(f"{title}: http://127.0.0.1:{port}/")
            for page in _own_pages(settings):
                console.print(f"  http://127.0.0.1:{docs}/{page.relative_to(settings.var)}")
            webbrowser.open(f"http://127.0.0.1:{mlflow}/")
            console.print("Ctrl-C stops them.")
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            console.print("Stopping.")
        finally:
            child_processes.stop_children(settings)


def _own_pages(settings: Settings) -> list[Path]:
    """Return the data docs, the newest reports, and the evaluations of the last trainings."""
    from pipelines.ingestion.validate import data_docs_index

    reports = sorted((settings.var / "reports").glob("*.html"))
    evaluations = sorted((settings.var / "training").glob("*/data/evaluation/report.html"))
    docs = data_docs_index(settings)
    return [*([docs] if docs.exists() else []), *reports[-4:], *evaluations[-3:]]
