"""Every error Atom raises on purpose. The kind decides HTTP status, CLI exit code and retry, at the edges only."""

from enum import StrEnum


class Kind(StrEnum):
    """What sort of failure it is. `web/errors.py` maps it to a status, `cli/` to an exit code."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    LIMITED = "limited"
    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    INTERNAL = "internal"


class AtomError(Exception):
    """Base of all of them.

    `message` is for people and safe to show to the caller: no secret, no driver text. `hint` says what to do next.
    `details` are small, public, JSON-able values. `code` is stable: clients, tests and docs rely on it.
    """

    kind = Kind.INTERNAL
    code = "internal_error"
    retryable = False

    def __init__(self, message: str, *, hint: str = "", **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InvalidError(AtomError):
    """The caller's input is wrong; saying it again will not help. `field` names where."""

    kind = Kind.INVALID
    code = "invalid_input"


class UnauthenticatedError(AtomError):
    kind = Kind.UNAUTHENTICATED
    code = "unauthenticated"


class ForbiddenError(AtomError):
    kind = Kind.FORBIDDEN
    code = "forbidden"


class NotFoundError(AtomError):
    kind = Kind.NOT_FOUND
    code = "not_found"


class ConflictError(AtomError):
    kind = Kind.CONFLICT
    code = "conflict"


class TooLargeError(AtomError):
    kind = Kind.TOO_LARGE
    code = "too_large"


class LimitedError(AtomError):
    """Too many, too fast, or over a budget. `retry_after` is in seconds."""

    kind = Kind.LIMITED
    code = "limited"
    retryable = True


class UnavailableError(AtomError):
    """Something Atom needs does not answer now; the same call may work later."""

    kind = Kind.UNAVAILABLE
    code = "unavailable"
    retryable = True


class DeadlineError(AtomError):
    """A bound on time was reached."""

    kind = Kind.TIMEOUT
    code = "deadline"
    retryable = True


class InternalError(AtomError):
    """A bug of ours, or a state that must not exist."""
