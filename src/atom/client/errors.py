"""What can go wrong between this client and Atom, as the same errors that the server raises."""

import json
from collections.abc import Mapping
from typing import Any

from atom.errors import (
    AtomError,
    ConflictError,
    DeadlineError,
    ForbiddenError,
    InternalError,
    InvalidError,
    LimitedError,
    NotFoundError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
)

BY_STATUS: Mapping[int, type[AtomError]] = {
    400: InvalidError,
    401: UnauthenticatedError,
    403: ForbiddenError,
    404: NotFoundError,
    405: InvalidError,
    408: DeadlineError,
    409: ConflictError,
    410: NotFoundError,
    413: TooLargeError,
    415: InvalidError,
    422: InvalidError,
    429: LimitedError,
    502: UnavailableError,
    503: UnavailableError,
    504: DeadlineError,
}
PROBLEM_FIELDS = frozenset({"type", "title", "status", "code", "detail", "hint", "instance"})
RESERVED = frozenset({"message", "hint", "self"})


class UnreachableError(UnavailableError):
    """Nothing accepts connections where Atom should be."""

    code = "unreachable"

    def __init__(self, url: str) -> None:
        super().__init__(
            f"Atom does not answer at {url}.",
            hint="Start it with `atom up`, or set ATOM_URL to where it runs.",
            url=url,
        )


class DroppedError(UnavailableError):
    """The connection ended in the middle: whether the request was done is unknown."""

    code = "connection_dropped"

    def __init__(self, url: str) -> None:
        super().__init__(
            f"The connection to Atom at {url} was cut.", hint="Look at the state, then try again.", url=url
        )


class SlowError(DeadlineError):
    code = "no_answer_in_time"

    def __init__(self, url: str, seconds: float) -> None:
        super().__init__(
            f"Atom at {url} did not answer within {seconds:g} s.",
            hint="`atom up` shows its log; /health/ready says what is wrong with it.",
            url=url,
        )


class LostStreamError(UnavailableError):
    """The live view could not be had again within its tries. What was followed goes on."""

    code = "stream_lost"


class BadReplyError(InternalError):
    """Something answered that does not speak Atom's API."""

    code = "bad_reply"

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(
            f"What answers at {url} is not an Atom this client understands: {problem}.",
            hint="Check ATOM_URL, and that both have the same version (`atom version`).",
            url=url,
        )


def error_from(status: int, headers: Mapping[str, str], body: bytes) -> AtomError:
    """The error that a reply of `status` stands for, with the code and the words the server chose."""
    problem = _problem(body)
    kind = BY_STATUS.get(status, InternalError if status >= 500 else InvalidError)
    message = problem.get("detail") or problem.get("title") or f"Atom answered {status} and did not say why."
    details = {key: value for key, value in problem.items() if key not in PROBLEM_FIELDS | RESERVED}
    if (seconds := retry_after(headers)) is not None:
        details["retry_after"] = seconds
    error = kind(str(message), hint=str(problem.get("hint") or ""), **details)
    error.code = str(problem.get("code") or kind.code)
    return error


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait as the server says them. The date form is not used by Atom and is ignored."""
    text = headers.get("retry-after", "").strip()
    return float(text) if text.isascii() and text.isdigit() else None


def _problem(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
