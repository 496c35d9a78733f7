"""Spans through the OpenTelemetry SDK, sent as OTLP over HTTP. Needs the extra `otel`.

Sending happens in a thread of the SDK, in batches, from a queue with a bound: a collector that is slow or away costs
spans, never a run.
"""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from os import getpid
from threading import Thread
from uuid import UUID

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from atom.infra.trace import Attributes, Value
from atom.settings import TracingSettings

EXPORT_SECONDS = 5.0  # for one batch, its retries included
CLOSE_SECONDS = 3.0
DELAY_SECONDS = 1.0
QUEUE_SPANS = 1_024
BATCH_SPANS = 256
TRACE_ID: ContextVar[int | None] = ContextVar("trace_id", default=None)
log = structlog.get_logger(service="api")


class TraceIds(RandomIdGenerator):
    """A trace that is asked for by its id, else a random one."""

    def generate_trace_id(self) -> int:
        return TRACE_ID.get() or super().generate_trace_id()

    def is_trace_id_random(self) -> bool:
        return TRACE_ID.get() is None


class ToldExporter(SpanExporter):
    """Says once that spans are lost, and once that they arrive again, instead of once for each batch."""

    def __init__(self, exporter: SpanExporter, endpoint: str) -> None:
        self._exporter, self._endpoint = exporter, endpoint
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            if self._lost == 0:
                log.warning("trace.export_failed", endpoint=self._endpoint)
            self._lost += len(spans)
        elif self._lost:
            log.info("trace.export_works_again", endpoint=self._endpoint, lost=self._lost)
            self._lost = 0
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


@dataclass(frozen=True, slots=True)
class OtelSpan:
    """`Span` of the SDK."""

    span: trace.Span

    def set(self, attributes: Attributes) -> None:
        self.span.set_attributes(_known(attributes))

    def failed(self, kind: str) -> None:
        self.span.set_attribute("error.type", kind)
        self.span.set_status(trace.StatusCode.ERROR)


@dataclass(frozen=True, slots=True)
class OtelTracer:
    """`Tracer` of the SDK. Its provider is its own: other users of the library in this process are left alone."""

    provider: TracerProvider
    exporter: SpanExporter
    tracer: trace.Tracer
    content: bool
    on: bool = True
    close_seconds: float = CLOSE_SECONDS

    def span(
        self,
        name: str,
        attributes: Attributes,
        *,
        client: bool = False,
        trace: UUID | None = None,
        unfailing: tuple[type[BaseException], ...] = (),
    ) -> AbstractContextManager[OtelSpan]:
        return self._span(name, attributes, client, trace, unfailing)

    @contextmanager
    def _span(
        self,
        name: str,
        attributes: Attributes,
        client: bool,
        trace_id: UUID | None,
        unfailing: tuple[type[BaseException], ...],
    ) -> Iterator[OtelSpan]:
        kind = trace.SpanKind.CLIENT if client else trace.SpanKind.INTERNAL
        asked = TRACE_ID.set(trace_id.int if trace_id else None)
        above = Context() if trace_id else None
        started = self.tracer.start_span(name, above, kind, _known(attributes))
        TRACE_ID.reset(asked)
        span = OtelSpan(started)
        with trace.use_span(started, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield span
            except unfailing:
                raise
            except BaseException as error:  # nothing is swallowed: it is only named
                span.failed(_kind_of(error))
                raise

    def close(self) -> None:
        """In a thread that nobody waits for longer: the SDK's own bound is half a minute."""
        ending = Thread(target=self.provider.shutdown, daemon=True, name="trace-close")
        ending.start()
        ending.join(self.close_seconds)
        if ending.is_alive():
            self.exporter.shutdown()  # no further tries at a collector that is away


def exporting_tracer(settings: TracingSettings, version: str, exporter: SpanExporter | None = None) -> OtelTracer:
    """`exporter` replaces the one that sends, for tests."""
    endpoint = f"{settings.endpoint.rstrip('/')}/v1/traces"
    sender = exporter or OTLPSpanExporter(endpoint=endpoint, headers=_headers(settings), timeout=EXPORT_SECONDS)
    resource = Resource.create(
        {
            "service.name": "atom",
            "service.version": version,
            "service.instance.id": f"{socket.gethostname()}:{getpid()}",
        }
    )
    provider = TracerProvider(resource=resource, id_generator=TraceIds(), shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(
            ToldExporter(sender, settings.endpoint),
            max_queue_size=QUEUE_SPANS,
            schedule_delay_millis=DELAY_SECONDS * 1000,
            max_export_batch_size=BATCH_SPANS,
        )
    )
    return OtelTracer(provider, sender, provider.get_tracer("atom", version), settings.content)


def _known(attributes: Attributes) -> dict[str, Value]:
    return {name: value for name, value in attributes.items() if value is not None}


def _kind_of(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return str(getattr(error, "code", type(error).__qualname__))


def _headers(settings: TracingSettings) -> dict[str, str]:
    text = settings.headers.get_secret_value() if settings.headers else ""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    return {name.strip(): value.strip() for name, _, value in pairs}
