"""How is the service started as a process of its own? The command line and its environment."""

from __future__ import annotations

import sys
from pathlib import Path

from settings import Settings

CODE = Path(__file__).resolve().parents[1]


def serve_command(settings: Settings) -> list[str]:
    """Starts the service where the settings say; SIGTERM ends it after the requests at hand."""
    return [
        sys.executable, "-m", "bentoml", "serve", "serving.service:Predictor",
        "--working-dir", str(CODE),
        "--host", settings.service_host,
        "--port", str(settings.service_port),
        "--timeout-graceful-shutdown", "20",
    ]  # fmt: skip


def serve_environment(settings: Settings) -> dict[str, str]:
    """What must be set for it, beside what the process has inherited."""
    return {
        **settings.environment(),
        "MLOPS_SERVICE_PORT": str(settings.service_port),
        # Two services with one home wipe each other's metrics: each start clears their folder.
        "BENTOML_HOME": str(
            settings.service_home or settings.var / "bentoml" / f"service-{settings.service_port}"
        ),
    }
