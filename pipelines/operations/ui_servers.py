"""The servers of `mlops ui`: MLflow, Prefect, Evidently, and the project's own pages."""

import os
import sys
import time
import webbrowser

from rich.console import Console

from pipelines.operations.page_server import TOOL_PAGES
from pipelines.runtime import (
    child_processes,
    exclusive,
    page_guard,
    prefect_commands,
    server_health,
)
from settings import Settings


def serve_uis(settings: Settings) -> None:
    """Start the servers, print their addresses, and stop them at Ctrl-C."""
    console = Console(highlight=False, soft_wrap=True)
    commands = {
        "MLflow": [
            sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1",
            "--port", str(settings.mlflow_port), "--backend-store-uri", settings.mlflow_uri,
        ],
        "Prefect": prefect_commands.prefect_server_command(settings),
        "Evidently": page_guard.guarded_server_command(
            "pipelines.runtime.page_guard:evidently_app", settings.evidently_port
        ),
        "Pages": page_guard.guarded_server_command(
            "pipelines.operations.page_server:pages_app", settings.docs_port
        ),
    }  # fmt: skip
    tools = TOOL_PAGES | {"Pages": ("an index of the reports and data docs", "docs_port")}
    ports = {name: getattr(settings, port) for name, (_, port) in tools.items()}
    environment = {
        **os.environ, **settings.environment(), **prefect_commands.prefect_environment(settings),
        # Saves eight processes that wait for evaluations of chat models; none is started here.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        # By default also names such as 10.example.org, which its owner can let point here.
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"localhost:*,127.0.0.1:*,{settings.allowed_hosts}",
    }  # fmt: skip
    with exclusive.run_lock(settings):
        child_processes.stop_children(settings)
        for name, port in ports.items():
            exclusive.require_port_free(port, name, f"MLOPS_{tools[name][1].upper()}")
        try:
            for name, port in ports.items():
                child = child_processes.start_child(
                    settings, f"ui-{name.lower()}", commands[name], environment
                )
                server_health.wait_until_healthy(child, f"http://127.0.0.1:{port}/", 90)
                console.print(f"{name} ({tools[name][0]}): http://127.0.0.1:{port}/")
            webbrowser.open(f"http://127.0.0.1:{settings.docs_port}/")
            console.print("Ctrl-C stops them.")
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            console.print("Stopping.")
        finally:
            child_processes.stop_children(settings)
