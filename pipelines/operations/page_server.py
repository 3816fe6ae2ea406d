"""The project's own pages on a server: an index that says what each is, and no other file.

`var/` also holds the prediction log, the release document and databases.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from monitoring.pages.layout import render_page
from pipelines.runtime.page_guard import PageGuard
from settings import Settings

DATA_DOCS = "gx/gx/uncommitted/data_docs/local_site"
TOOL_PAGES = {  # what each server of `mlops ui` shows, and the setting of its port
    "MLflow": ("runs, models, lineage", "mlflow_port"),
    "Prefect": ("flows, automations", "prefect_port"),
    "Evidently": ("drift over time", "evidently_port"),
}


@dataclass(frozen=True)
class PageKind:
    """Pages of one kind: the files of a use case's folder that match the pattern."""

    title: str
    about: str
    folder: str
    pattern: str


KINDS = (
    PageKind(
        "Monitoring", "performance, drift, slices and the decision to retrain, as of that day",
        "reports", "monitoring-*.html",
    ),
    PageKind("Drift", "Evidently's comparison of all columns", "reports", "drift-*.html"),
    PageKind(
        "Evaluations", "the candidates of a training, and the gates' verdicts on them",
        "training", "*/data/*/evaluation/report.html",
    ),
    PageKind(
        "Data docs", "Great Expectations' results on the batches that were checked last",
        DATA_DOCS, "validations/*/*/*/*.html",
    ),
    PageKind("Proofs", "what the guards did with bad models and data", "reports", "prove*.html"),
    PageKind("Replay", "the cost of the replayed policies", "reports", "year.html"),
)  # fmt: skip
# Linked from pages, not from the index.
PARTS = (PageKind("", "", DATA_DOCS, "index.html"), PageKind("", "", DATA_DOCS, "static/*/*"))


def pages_app() -> ASGIApp:
    """Return the application. Every file that it does not list, it answers with 404."""
    settings = Settings()
    routes = [
        Route("/", partial(show_index, settings)),
        Route("/{path:path}", partial(show_page, settings)),
    ]
    return PageGuard(Starlette(routes=routes), settings)


def show_index(settings: Settings, _: Request) -> Response:
    """GET /: list the pages by kind, the newest first, and the tools' servers."""
    html = render_page(
        "pipelines/operations/pages.html.j2", home=settings.home.resolve(),
        tools=[
            (name, about, f"http://127.0.0.1:{getattr(settings, port)}/")
            for name, (about, port) in TOOL_PAGES.items()
        ],
        kinds=[(kind, list_pages(settings.var, kind)) for kind in KINDS],
    )  # fmt: skip
    return HTMLResponse(html)


def show_page(settings: Settings, request: Request) -> Response:
    """GET a page by its path below `var/`."""
    path: str = request.path_params["path"]
    for kind in (*KINDS, *PARTS):
        if path in (page for page, _, _ in list_pages(settings.var, kind)):
            return FileResponse(settings.var / path)
    raise HTTPException(404, "No such page. / lists all.")


def list_pages(var: Path, kind: PageKind) -> list[tuple[str, str, datetime]]:
    """Return path below `var`, name and UTC time of each page of a kind, the newest first.

    A link to a file elsewhere is no page; the folder itself may be one.
    """
    pages = []
    for state in var.glob("usecases/*"):
        folder = state / kind.folder
        for file in folder.glob(kind.pattern):
            if not file.resolve().is_relative_to(folder.resolve()):
                continue
            name = file.relative_to(folder)
            written = datetime.fromtimestamp(file.stat().st_mtime, UTC)
            label = name.parts[0] if kind.folder == "training" else file.stem
            path = file.relative_to(var).as_posix()
            pages.append((path, f"{state.name}: {label}", written))
    return sorted(pages, key=lambda page: (page[2], page[1]), reverse=True)
