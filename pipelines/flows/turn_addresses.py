"""Where a user's browser finds what a turn made."""

from typing import Any
from urllib.parse import urlsplit

from settings import Settings


def browser_addresses(settings: Settings, outcome: dict[str, Any]) -> list[str]:
    """Return the pages of the servers in the settings, each with what it shows; none if embedded.

    `outcome` is that of the turn's first training. A host without a dot is a service of the stack:
    its port is published on this machine, under the port in the settings.
    """
    version = f"/#/models/{settings.usecase}/versions/{outcome['version']}"
    servers = (
        (settings.tracking_uri, settings.mlflow_port, version, "the version, its card and report"),
        (not settings.owns_prefect and settings.prefect_url, settings.prefect_port, "/", "flows"),
        (settings.evidently_url, settings.evidently_port, "/", "drift over time"),
        (not settings.owns_service and settings.service_url, settings.service_port, "/docs",
         "the service: try a prediction"),
    )  # fmt: skip
    return [
        f"{_browser_url(str(url), port)}{page}  {shown}"
        for url, port, page, shown in servers
        if url and str(url).startswith("http")
    ]


def _browser_url(url: str, port: int) -> str:
    parts = urlsplit(url)
    inside = "." not in (parts.hostname or "") and parts.hostname != "localhost"
    return f"http://127.0.0.1:{port}" if inside else f"{parts.scheme}://{parts.netloc}"
