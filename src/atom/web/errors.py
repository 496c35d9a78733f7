"""Errors to problem+json (RFC 9457): the only place that knows HTTP status codes."""

from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response

from atom.errors import AtomError, Kind
from atom.kit.redact import redact

STATUS = {
    Kind.INVALID: 422,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.TOO_LARGE: 413,
    Kind.LIMITED: 429,
    Kind.UNAVAILABLE: 503,
    Kind.TIMEOUT: 504,
    Kind.INTERNAL: 500,
}
RETRY_AFTER_SECONDS = "2"
log = structlog.get_logger(service="api")


class Problem(BaseModel):
    """What every error of the API looks like."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    hint: str = ""


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": HTTPStatus(status).phrase}
    for status in (401, 403, 404, 409, 413, 422, 429, 500, 503)
}


def install(app: FastAPI) -> None:
    app.add_exception_handler(AtomError, _atom_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _bug)


def problem(
    status: int, code: str, detail: str, *, hint: str = "", extra: dict[str, Any] | None = None
) -> JSONResponse:
    body = {
        "type": f"urn:atom:error:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "hint": hint,
    }
    headers = {"Retry-After": RETRY_AFTER_SECONDS} if status == 503 else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(
        {**redact(extra or {}), **body}, status_code=status, headers=headers, media_type="application/problem+json"
    )


def from_error(error: AtomError) -> JSONResponse:
    extra = {key: value for key, value in error.details.items() if isinstance(value, str | int | float | bool)}
    return problem(STATUS[error.kind], error.code, error.message, hint=error.hint, extra=extra)


async def _atom_error(connection: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, AtomError)
    if error.kind is Kind.INTERNAL:
        log.error("api.request_failed", error_code=error.code, exc_info=error)
    return await _send(connection, from_error(error))


async def _invalid_request(connection: HTTPConnection, error: Exception) -> Response:
    """Which field, what is wrong; never the value, which may be a secret."""
    assert isinstance(error, RequestValidationError)
    said = [
        f"{'.'.join(str(part) for part in item['loc'][1:]) or item['loc'][0]}: {item['msg']}."
        for item in error.errors()
    ]
    fields = [".".join(str(part) for part in item["loc"][1:]) for item in error.errors()]
    response = problem(422, "invalid_request", " ".join(said[:10]), extra={"field": fields[0] if fields else ""})
    return await _send(connection, response)


async def _http_error(connection: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    response = problem(error.status_code, code, str(error.detail))
    response.headers.update(error.headers or {})
    return await _send(connection, response)


async def _bug(connection: HTTPConnection, error: Exception) -> Response:
    log.error("api.crashed", error_code="internal_error", exc_info=error)
    return await _send(connection, problem(500, "internal_error", "Atom has a bug here; the log has the traceback."))


async def _send(connection: HTTPConnection, response: Response) -> Response:
    """A WebSocket that is refused gets the same answer, as the response to its handshake."""
    if isinstance(connection, WebSocket) and not isinstance(connection, Request):
        await connection.send_denial_response(response)
    return response
