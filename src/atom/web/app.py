"""The HTTP application: every domain's routes behind one set of limits and error answers."""

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp

from atom import __version__
from atom.settings import WebSettings
from atom.web import errors
from atom.web.body_limit import ProblemForLimit
from atom.web.openapi import complete
from atom.web.request_id import RequestId

DESCRIPTION = (
    "Run AI agents that a team can trust. Errors are problem+json with a stable `code`; lists page by `after`."
)


class AtomApi(FastAPI):
    """What wraps everything, the framework's own answers included, and a description that names each permission."""

    def build_middleware_stack(self) -> ASGIApp:
        return RequestId(ProblemForLimit(super().build_middleware_stack()))

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = complete(super().openapi(), self.routes)
        return self.openapi_schema


def create_app(routers: Iterable[APIRouter], settings: WebSettings) -> AtomApi:
    app = AtomApi(
        title="Atom",
        version=__version__,
        description=DESCRIPTION,
        openapi_url=None,  # `ops/api.py` serves it, with a permission
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would repeat the caller's Host header to a stranger
        responses=errors.RESPONSES,
        max_body_size=settings.max_body_bytes,
    )
    for router in routers:
        app.include_router(router)
    errors.install(app)
    return app
