"""Logs as the guide reads them with jq: one JSON object a line, on stdout and, where set, in a file."""

import logging
import logging.handlers
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import structlog

from atom.errors import InvalidError
from atom.kit.redact import redact

FILE_BYTES = 50_000_000
FILES_KEPT = 5


class LogFileError(InvalidError):
    code = "log_file_unwritable"


def configure(level: str, file: Path | None, *, stdout: bool = True) -> None:
    """Set up structlog and the standard library's logging for this process. Raises LogFileError."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)] if stdout else []
    if file is not None:
        handlers.append(_file_handler(file))
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _service,
        _plain,
        structlog.processors.format_exc_info,
        redact_event,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
    )
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler in handlers:
        handler.setFormatter(formatter)
        root.addHandler(handler)
    root.setLevel(level.upper())
    for noisy in ("httpx2", "httpcore2", "openai", "anthropic", "procrastinate", "alembic", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_drop_uvicorn_twin)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _file_handler(file: Path) -> logging.Handler:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return logging.handlers.RotatingFileHandler(file, maxBytes=FILE_BYTES, backupCount=FILES_KEPT, encoding="utf-8")
    except OSError as error:
        raise LogFileError(
            f"The log file {file} cannot be written: {error.strerror}.",
            hint="Set ATOM_LOGGING__FILE to a writable path.",
        ) from error


def _drop_uvicorn_twin(record: logging.LogRecord) -> bool:
    """`web/errors.py` has logged the same traceback already, with its request."""
    return not record.getMessage().startswith("Exception in ASGI application")


def _plain(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.pop("color_message", None)
    return event


def _service(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.setdefault("service", "api")
    return event


def redact_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The last line of defence: whatever looks like a secret is cut out of every value."""
    for key, value in event.items():
        event[key] = redact(value)
    return event
