"""The HTTP application: every domain's routes behind one set of limits and error answers."""

from collections.abc import Iterable

from fastapi import APIRouter, FastAPI

from atom import __version__
from atom.settings import WebSettings
from atom.web import errors
from atom.web.request_id import RequestId

DESCRIPTION = (
    "Run AI agents that a team can trust. Errors are problem+json with a stable `code`; lists page by `after`."
)


def create_app(routers: Iterable[APIRouter], settings: WebSettings) -> FastAPI:
    app = FastAPI(
        title="Atom",
        version=__version__,
        description=DESCRIPTION,
        openapi_url=None,  # served below, with a permission
        docs_url=None,
        redoc_url=None,
        responses=errors.RESPONSES,
        max_body_size=settings.max_body_bytes,
    )
    for router in routers:
        app.include_router(router)
    errors.install(app)
    app.add_middleware(RequestId)
    return app
