"""Errors in the shape that clients of this protocol read, with Atom's own codes in it."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from atom.errors import AtomError, InvalidError, Kind, UnavailableError
from atom.identity.guard import GuardedRoute
from atom.kit.redact import redact
from atom.kit.text import clean_json
from atom.web.errors import STATUS, invalid_fields, retry_headers

RUN_FAILED = 502  # not 500: Atom works, its run has no answer
TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
CODES = {"agent_not_found": "model_not_found"}  # what clients of this protocol look for
NO_RETRY = {
    "x-should-retry": "false"
}  # the official clients repeat 409 and 5xx by themselves: that would be a second run


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """How errors of this protocol look."""

    error: ErrorDetail


class UnsupportedError(InvalidError):
    """Something of the protocol that agents do not do."""

    code = "unsupported_parameter"


class GoingAwayError(UnavailableError):
    """This process ends before the run does. The run goes on, in another one."""

    code = "draining"


class RunFailedError(AtomError):
    """The run has ended without an answer. `failed` is its own code."""

    def __init__(self, message: str, *, hint: str, failed: str) -> None:
        super().__init__(message, hint=hint)
        self.code = failed


class OpenAiRoute(GuardedRoute):
    """Answers errors in the protocol's shape."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def translated(request: Request) -> Response:
            try:
                return await handle(request)
            except AtomError as error:
                if error.kind is Kind.INTERNAL and not isinstance(error, RunFailedError):
                    raise
                return from_error(error)
            except RequestValidationError as error:
                fields = invalid_fields(error)
                said = " ".join(f"{field}: {what}." for field, what in fields)
                return _answer(400, said, code="invalid_request", param=fields[0][0] if fields else None)
            except HTTPException as error:
                return _answer(error.status_code, str(error.detail))

        return translated


def from_error(error: AtomError) -> JSONResponse:
    status = RUN_FAILED if isinstance(error, RunFailedError) else STATUS[error.kind]
    status = 400 if status == 422 else status
    param = error.details.get("field")
    answer = _answer(status, str(error), code=error.code, param=param if isinstance(param, str) else None)
    answer.headers.update(retry_headers(error, status))
    return answer


def in_stream(error: AtomError) -> dict[str, Any]:
    """For an answer that has begun already."""
    return _body(RUN_FAILED, str(error), code=error.code, param=None)


def _answer(status: int, message: str, *, code: str | None = None, param: str | None = None) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if status == 409 or status >= 500:
        headers |= NO_RETRY
    said = _body(status, message, code=CODES.get(code or "", code), param=param)
    return JSONResponse(said, status_code=status, headers=headers)


def _body(status: int, message: str, *, code: str | None, param: str | None) -> dict[str, Any]:
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    said: dict[str, Any] = clean_json(
        {"error": {"message": redact(message), "type": kind, "param": param, "code": code}}
    )
    return said
