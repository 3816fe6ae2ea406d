"""The command line and the environment that start the service as a process."""

import sys
from pathlib import Path

from settings import Settings

CODE = Path(__file__).resolve().parents[1]


def serve_command(settings: Settings) -> list[str]:
    """Return the command that starts the service at the settings' host and port.

    On SIGINT, SIGTERM or SIGHUP the service finishes its open requests, then ends.
    """
    return [
        sys.executable, "-m", "serving.supervisor", "serve", "serving.service:Predictor",
        "--working-dir", str(CODE),
        "--host", settings.service_host,
        "--port", str(settings.service_port),
        "--timeout-graceful-shutdown", "20",
    ]  # fmt: skip


def serve_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that the service needs, to add to the inherited environment."""
    return {
        **settings.environment(),
        "MLOPS_SERVICE_PORT": str(settings.service_port),
        # BentoML clears the metrics folder at each start: services with one home would wipe each
        # other's metrics.
        "BENTOML_HOME": str(
            settings.service_home or settings.var / "bentoml" / f"service-{settings.service_port}"
        ),
    }
