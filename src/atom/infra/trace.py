"""Spans of what this process does, for OpenTelemetry. Nothing of it is loaded, and nothing costs, while tracing is off.

Spans carry names, numbers and codes of errors. Texts (prompts, answers, arguments) are attributes of their own that
only exist when `content` is on. No message of an error is exported: it may quote either.
"""

import importlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol
from uuid import UUID

import structlog

from atom.kit.redact import redact
from atom.settings import TracingSettings

ADAPTER = "atom.infra.otel"
LIBRARY = "opentelemetry"
MAX_TEXT_CHARS = 8_000  # of one text of the content
MAX_CONTENT_CHARS = 64_000  # of one attribute: what waits for the collector stays small
Value = str | bool | int | float | Sequence[str]
Attributes = Mapping[str, Value | None]  # None: not known, left out
log = structlog.get_logger(service="api")


class Span(Protocol):
    """Something that takes time. Ends with its context; an exception that leaves it is its error."""

    def set(self, attributes: Attributes) -> None: ...

    def failed(self, kind: str) -> None:
        """It failed without an exception; `kind` is a code."""
        ...


class Tracer(Protocol):
    """`on`: somebody collects. `content`: texts may be exported too."""

    @property
    def on(self) -> bool: ...

    @property
    def content(self) -> bool: ...

    def span(
        self,
        name: str,
        attributes: Attributes,
        *,
        client: bool = False,
        trace: UUID | None = None,
        unfailing: tuple[type[BaseException], ...] = (),
    ) -> AbstractContextManager[Span]:
        """Below the span that is current. `client`: something outside is called. `trace`: begins (or goes on with) the
        trace of this id. `unfailing`: exceptions that are no failure of it."""
        ...

    def close(self) -> None:
        """Sends what waits, within seconds. Blocks."""
        ...


class NoSpan:
    """Keeps nothing."""

    def set(self, attributes: Attributes) -> None:
        """Not kept."""

    def failed(self, kind: str) -> None:
        """Not kept."""

    def __enter__(self) -> "NoSpan":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing is open."""


NO_SPAN = NoSpan()


@dataclass(frozen=True, slots=True)
class NoTracer:
    """Tracing is off."""

    on: bool = False
    content: bool = False

    def span(self, name: str, attributes: Attributes, **_: Any) -> NoSpan:
        return NO_SPAN

    def close(self) -> None:
        """Nothing is open."""


NO_TRACER = NoTracer()


def open_tracer(settings: TracingSettings, version: str) -> Tracer:
    """With tracing on and the extra missing, says so once and goes on without."""
    if not settings.enabled:
        return NO_TRACER
    try:
        adapter = importlib.import_module(ADAPTER)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith(LIBRARY):
            raise
        log.warning("trace.extra_missing", hint='pip install "atom-platform[otel]" installs what exports spans.')
        return NO_TRACER
    tracer: Tracer = adapter.exporting_tracer(settings, version)
    return tracer


def text_of(content: str) -> str:
    """A text as it may be exported: bounded, and without what looks like a secret."""
    shown = content if len(content) <= MAX_TEXT_CHARS else f"{content[:MAX_TEXT_CHARS]}[...]"
    return str(redact(shown))
