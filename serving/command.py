"""The command line and the environment that start the service as a process, and its conditions."""

import ipaddress
import os
import sys
import tempfile
from pathlib import Path

from serving.http.access import require_tokens
from serving.prediction_log.segments import make_log_folder
from settings import Settings, UserError, load_settings

CODE = Path(__file__).resolve().parents[1]
#: The name of the use case, which `mlops bento` puts next to the code.
PACKAGED_USE_CASE = CODE / "packaged" / "usecase"


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
        "PYTHONSAFEPATH": "1",  # a file of the working folder does not replace a library
        # BentoML clears the metrics folder at each start: services with one home would wipe each
        # other's metrics.
        "BENTOML_HOME": str(
            settings.service_home or settings.var / "bentoml" / f"service-{settings.service_port}"
        ),
    }


def load_service_settings() -> Settings:
    """Return the settings of the service. A Bento serves only the use case of its model."""
    if PACKAGED_USE_CASE.exists():
        os.environ["MLOPS_USECASE"] = PACKAGED_USE_CASE.read_text()
    return load_settings()


def require_startable(settings: Settings) -> None:
    """Raise `UserError` for what would let every start fail: address, tokens, the log's folder."""
    try:
        ipaddress.ip_address(settings.service_host)  # BentoML takes no names
    except ValueError as error:
        raise UserError(
            f"The service can't listen on {settings.service_host}: it is no IP address. Set "
            "MLOPS_SERVICE_HOST to one, such as 127.0.0.1."
        ) from error
    require_tokens(settings)
    try:
        make_log_folder(settings.predictions)
        tempfile.TemporaryFile(dir=settings.predictions).close()
    except OSError as error:
        raise UserError(
            f"The folder of the prediction log, {settings.predictions}, can't be written: {error}. "
            "Correct its permissions, or set MLOPS_PREDICTION_LOG to another folder."
        ) from error
