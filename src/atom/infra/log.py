"""Logs as the guide's jq and grep read them: one JSON object a line, on stdout and, where set, in a file."""

import contextlib
import json
import logging
import math
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import structlog

from atom.errors import InvalidError
from atom.infra.log_file import LogFile
from atom.kit.redact import redact
from atom.kit.text import shorten

UVICORN_TWINS = ("Exception in ASGI application", "ASGI callable returned without completing handshake")
FILE_BYTES = 50_000_000
FILES_KEPT = 5
LONGEST_VALUE = 20_000  # characters; a line is read by people and shippers
MOST_ITEMS = 100
DEPTH = 4
QUIET = ("httpx2", "httpcore2", "openai", "anthropic", "procrastinate", "alembic", "uvicorn.access")
UVICORN = ("uvicorn", "uvicorn.error", "uvicorn.access")
# They tell each failed attempt, psycopg with host and user; Atom tells the outage.
SILENT = ("psycopg", "psycopg.pool", "opentelemetry")
SERVICES = {
    "sqlalchemy": "database",
    "psycopg": "database",
    "alembic": "database",
    "procrastinate": "worker",
    "websockets": "websocket_manager",
}


class LogFileError(InvalidError):
    code = "log_file_unwritable"


class Sink(logging.StreamHandler[Any]):
    """A place for lines that may be full, closed or gone: what it does not take is counted, and told on stderr once."""

    def __init__(self, label: str, stream: Any) -> None:
        super().__init__(stream)
        self.label = label
        self.dropped = 0
        self._failing = False

    def emit(self, record: logging.LogRecord) -> None:
        before = self.dropped
        super().emit(record)
        if self._failing and self.dropped == before:
            self._failing = False
            self._tell("log.sink_restored", {"dropped": self.dropped})

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Called inside the failed `emit`. Raises nothing."""
        self.dropped += 1
        if self._failing:
            return
        self._failing = True
        error = sys.exc_info()[1]
        self._tell("log.sink_failed", {"error_type": type(error).__name__, "reason": str(redact(str(error)))})

    def close(self) -> None:
        super().close()
        if isinstance(self.stream, LogFile):
            self.stream.close()

    def _tell(self, event: str, values: Mapping[str, object]) -> None:
        with contextlib.suppress(OSError, ValueError):  # stderr may be gone as well
            if sys.stderr is not None:
                print(json.dumps({"event": event, "sink": self.label, **values}), file=sys.stderr, flush=True)


def configure(level: str, file: Path | None, *, stdout: bool = True) -> None:
    """Set up structlog and the standard library's logging for this process. Raises LogFileError."""
    sinks = [Sink("stdout", sys.stdout)] if stdout and sys.stdout is not None else []
    if file is not None:
        sinks.append(Sink("file", _open(file)))
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _service,
        structlog.processors.format_exc_info,
        plain_event,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
    )
    _install(sinks, formatter, level)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def sinks() -> list[Sink]:
    """Where this process's lines go now."""
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, Sink)]


def _install(new: list[Sink], formatter: logging.Formatter, level: str) -> None:
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
        if isinstance(handler, Sink):
            handler.close()
    for sink in new:
        sink.setFormatter(formatter)
        root.addHandler(sink)
    root.setLevel(level.upper())
    for name in UVICORN:  # whoever made a server of their own in this process has set them up: lines go to ours
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
        logging.getLogger(name).setLevel(logging.NOTSET)
    for names, least in ((QUIET, logging.WARNING), (SILENT, logging.CRITICAL)):
        for name in names:
            logging.getLogger(name).setLevel(least)
    logging.getLogger("uvicorn.error").addFilter(_drop_uvicorn_twin)


def _open(file: Path) -> LogFile:
    opened = LogFile(file, FILE_BYTES, FILES_KEPT)
    try:
        opened.open()
    except OSError as error:
        raise LogFileError(
            f"The log file {file} cannot be written: {error.strerror}.",
            hint="Set ATOM_LOGGING__FILE to a writable path.",
        ) from error
    return opened


def _drop_uvicorn_twin(record: logging.LogRecord) -> bool:
    """`web/errors.py` has logged the same traceback already; and a refused WebSocket is an answer, not an error."""
    return not record.getMessage().startswith(UVICORN_TWINS)


def _service(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Every line names its component, those of libraries too."""
    event.pop("color_message", None)  # uvicorn's second spelling of its message
    record = event.get("_record")
    library = record.name.partition(".")[0] if isinstance(record, logging.LogRecord) else ""
    event.setdefault("service", SERVICES.get(library, "api"))
    return event


def plain_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The last line of defence: only JSON, bounded, and whatever looks like a secret is cut out of every value."""
    for key, value in event.items():
        if key.startswith("_"):  # structlog's own, removed before the line is written
            continue
        if key == "exception" and isinstance(value, str):
            event[key] = redact(value)[-LONGEST_VALUE:]  # a traceback says what happened at its end
        else:
            event[key] = redact({key: plain(value, DEPTH)}, depth=DEPTH + 2)[key]
    return event


def plain(value: object, depth: int) -> object:
    """`value` as JSON has it. Foreign objects become their text here, so that redaction sees it."""
    if isinstance(value, str):
        return shorten(value, LONGEST_VALUE)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict) and depth:
        return {str(name): plain(item, depth - 1) for name, item in list(value.items())[:MOST_ITEMS]}
    if isinstance(value, list | tuple | set | frozenset) and depth:
        return [plain(item, depth - 1) for item in list(value)[:MOST_ITEMS]]
    return shorten(repr(value) if isinstance(value, BaseException) else str(value), LONGEST_VALUE)
