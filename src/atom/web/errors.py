"""Errors to problem+json (RFC 9457): the only place that knows HTTP status codes."""

import math
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response

from atom.errors import AtomError, Kind
from atom.kit.redact import redact
from atom.kit.text import clean_json, shorten

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
CODES = {413: "too_large"}  # the others are their phrase; this one's differs between versions of Python
WAITS = frozenset({429, 503})
RETRY_AFTER_SECONDS = "2"
MAX_PROBLEMS = 10
MAX_NAME = 200
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
    for status in (400, 401, 403, 404, 409, 413, 422, 429, 500, 503)
}


def install(app: FastAPI) -> None:
    """A WebSocket that is refused gets the same answer, as the response to its handshake."""
    app.add_exception_handler(AtomError, _atom_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(WebSocketRequestValidationError, _invalid_request)
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
    headers = {"Retry-After": RETRY_AFTER_SECONDS} if status in WAITS else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    said = clean_json({**redact(extra or {}), **body})  # a name that a caller made up may have no UTF-8 form
    return JSONResponse(said, status_code=status, headers=headers, media_type="application/problem+json")


def from_error(error: AtomError) -> JSONResponse:
    extra = {key: value for key, value in error.details.items() if isinstance(value, str | int | float | bool)}
    response = problem(STATUS[error.kind], error.code, error.message, hint=error.hint, extra=extra)
    response.headers.update(retry_headers(error, response.status_code))
    return response


def retry_headers(error: AtomError, status: int) -> dict[str, str]:
    """When to come back, where coming back may help."""
    if status not in WAITS:
        return {}
    seconds = error.details.get("retry_after")
    return {"Retry-After": str(math.ceil(seconds)) if isinstance(seconds, int | float) else RETRY_AFTER_SECONDS}


def invalid_fields(error: RequestValidationError | WebSocketRequestValidationError) -> list[tuple[str, str]]:
    """Which field, what is wrong; never the value, which may be a secret."""
    return [_problem_of(item) for item in error.errors()[:MAX_PROBLEMS]]


async def _atom_error(connection: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, AtomError)
    if error.kind is Kind.INTERNAL:
        log.error("api.request_failed", error_code=error.code, exc_info=error)
    return from_error(error)


async def _invalid_request(connection: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError | WebSocketRequestValidationError)
    found = invalid_fields(error)
    said = " ".join(f"{field}: {what}." for field, what in found)
    return problem(422, "invalid_request", said, extra={"field": found[0][0] if found else ""})


def _problem_of(item: dict[str, Any]) -> tuple[str, str]:
    """The field and what is wrong with it. Names come from the caller: they are cut."""
    place = [str(part) for part in item["loc"]]
    if item["type"] == "json_invalid":
        return "body", f"not valid JSON at character {place[-1]}"
    return shorten(".".join(place[1:]) or place[0], MAX_NAME), str(item["msg"]).rstrip(".")


async def _http_error(connection: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = CODES.get(error.status_code) or HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    response = problem(error.status_code, code, str(error.detail))
    response.headers.update(error.headers or {})
    return response


async def _bug(connection: HTTPConnection, error: Exception) -> Response:
    log.error("api.crashed", error_code="internal_error", exc_info=error)
    return problem(500, "internal_error", "Atom has a bug here; the log has the traceback.")
