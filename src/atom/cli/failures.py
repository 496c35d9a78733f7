"""How a command fails: what is printed, and the exit code."""

import sys
import traceback
from collections.abc import Mapping

from typer.exceptions import TyperException

from atom.cli.output import Output
from atom.errors import AtomError, Kind
from atom.kit.redact import redact
from atom.settings import SettingsError, load

NO, USAGE, COULD_NOT, INTERRUPTED, PIPE_CLOSED = 1, 2, 3, 130, 141
EXIT_CODES: Mapping[Kind, int] = {
    Kind.INVALID: USAGE,
    Kind.TOO_LARGE: USAGE,
    Kind.NOT_FOUND: NO,
    Kind.CONFLICT: NO,
    Kind.FORBIDDEN: NO,
    Kind.UNAUTHENTICATED: COULD_NOT,
    Kind.LIMITED: COULD_NOT,
    Kind.UNAVAILABLE: COULD_NOT,
    Kind.TIMEOUT: COULD_NOT,
    Kind.INTERNAL: COULD_NOT,
}


def failed(error: AtomError, *, as_json: bool) -> int:
    """An error Atom raised on purpose."""
    _print(error.message, error.hint, error.code, error.details, as_json=as_json)
    return EXIT_CODES[error.kind]


def misused(error: TyperException, *, as_json: bool) -> int:
    """The command line cannot be understood."""
    context = getattr(error, "ctx", None)
    hint = f"`{context.command_path} --help` shows how it is used." if context is not None else ""
    _print(error.format_message().replace("Value error, ", ""), hint, "usage", {}, as_json=as_json)
    return USAGE


def broke(error: Exception, *, as_json: bool) -> int:
    """Something nobody foresaw."""
    if _debugging():
        traceback.print_exception(error, file=sys.stderr)
    _print(
        f"The command broke: {type(error).__name__}: {error}",
        "ATOM_LOGGING__LEVEL=debug shows where.",
        "internal_error",
        {},
        as_json=as_json,
    )
    return COULD_NOT


def _print(message: str, hint: str, code: str, details: Mapping[str, object], *, as_json: bool) -> None:
    message, details = (
        redact(message),
        redact(dict(details)),
    )  # an argument that is quoted may be a key in a wrong place
    out = Output.open(as_json)
    if as_json:
        out.json({"error": {"code": code, "message": message, "hint": hint, **details}})
        return
    out.note(f"error: {message}", "red")
    if hint:
        out.note(f"hint: {hint}", "")
    out.note(f"code: {code}", "dim")


def _debugging() -> bool:
    try:
        return load().logging.level == "debug"
    except SettingsError:
        return False
