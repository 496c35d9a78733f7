"""One try of a model call: bounded in time and size, logged and counted."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from atom.infra.trace import NO_TRACER, Tracer
from atom.kit.clock import Clock
from atom.kit.ids import new_id
from atom.llm.calls import AttemptRecord, CallHooks, CompletedCall
from atom.llm.catalogue import Catalogue, estimate_tokens
from atom.llm.deadlines import Silence, watched
from atom.llm.errors import (
    MalformedReplyError,
    ModelAuthError,
    ModelError,
    ModelTimeoutError,
    TruncatedReplyError,
    error_class,
)
from atom.llm.metrics import ABORTED, ANSWERED, LlmMetrics
from atom.llm.ports import ChatModel, ChatRequest, Completion, TextDelta, Usage
from atom.llm.routes import Route
from atom.llm.spans import chat_span, note_reply
from atom.settings import LlmSettings

# With initial values, not .bind(): that would freeze whatever logging is set up when this module is imported.
log = structlog.get_logger(service="agent_execution")
key_log = structlog.get_logger(service="byok")

OnDelta = Callable[[int, int, str], Awaitable[None] | None]  # attempt (from 1), offset of the text in it, text
MAX_REPLY_CHARS = 2_000_000


@dataclass(slots=True)
class Attempt:
    """One try: what is measured while it runs, and what is said about it afterwards."""

    model: ChatModel
    route: Route
    request: ChatRequest
    on_delta: OnDelta | None
    settings: LlmSettings
    metrics: LlmMetrics
    catalogue: Catalogue
    hooks: CallHooks
    clock: Clock
    number: int
    began: float  # of the first attempt
    reservation: UUID | None = None
    tracer: Tracer = NO_TRACER
    labels: Mapping[str, str] = field(default_factory=dict)
    started: float = 0.0
    first_byte: float | None = None
    first_token: float | None = None
    chars: int = 0

    async def run(self) -> CompletedCall:
        traced = chat_span(self.tracer, self.model, route=self.route, request=self.request, labels=self.labels)
        with traced as span:
            done = await self._run()
            note_reply(self.tracer, span, done.completion, self.first_byte)
            return done

    async def _run(self) -> CompletedCall:
        self.started = self._now()
        failure: ModelError | None = None
        completion: Completion | None = None
        try:
            completion = await self._bounded()
        except ModelError as error:
            failure = error
            self._log_failure(error)
            raise
        finally:
            self._count(failure, completion)
            record = self._record(failure, completion)
            self.hooks.note(record)
        return self._completed(completion, record)

    async def _bounded(self) -> Completion:
        total = self.settings.timeout
        bound = asyncio.timeout(total)
        try:
            async with bound:
                return await self._read()
        except TimeoutError:
            if not bound.expired():
                raise
            hint = "Raise ATOM_LLM__TIMEOUT, or ask for shorter answers with ATOM_LLM__MAX_TOKENS."
            raise self._error(ModelTimeoutError, f"did not finish its answer within {total:g} s.", hint) from None

    async def _read(self) -> Completion:
        settings, streams = self.settings, self.request.stream
        silence = Silence(settings.first_byte_timeout, settings.idle_timeout) if streams else Silence(None, None)
        stream = watched(
            self.model.stream(self.request), silence, provider=self.model.provider, model=self.request.model
        )
        completion: Completion | None = None
        async with aclosing(stream) as items:
            async for item in items:
                if self.first_byte is None:
                    self.first_byte = self._now() - self.started
                if isinstance(item, Completion):
                    completion = item
                elif item.text:
                    await self._show(item)
        if completion is None:
            raise self._error(TruncatedReplyError, "ended its reply without saying so.")
        self._check_size(len(completion.text) + sum(len(call.arguments) for call in completion.tool_calls))
        return completion

    async def _show(self, delta: TextDelta) -> None:
        if self.first_token is None:
            self.first_token = self._now() - self.started
        offset, self.chars = self.chars, self.chars + len(delta.text)
        self._check_size(self.chars)
        shown = self.on_delta(self.number, offset, delta.text) if self.on_delta is not None else None
        if inspect.isawaitable(shown):
            await shown

    def _check_size(self, chars: int) -> None:
        if chars > MAX_REPLY_CHARS:
            raise self._error(MalformedReplyError, f"sent a reply of more than {MAX_REPLY_CHARS} characters.")

    def _error(self, kind: type[ModelError], what: str, hint: str = "") -> ModelError:
        provider = self.model.provider
        return kind(f"{provider} {what}", provider=provider, model=self.request.model, hint=hint)

    def _completed(self, completion: Completion, record: AttemptRecord) -> CompletedCall:
        seconds = self._now() - self.started
        if seconds > self.settings.slow_seconds:
            log.warning("llm slow response", **self._names(), seconds=round(seconds, 3), attempt=self.number)
        return CompletedCall(
            completion=completion,
            attempt=self.number,
            seconds=seconds,
            first_byte_seconds=seconds if self.first_byte is None else self.first_byte,
            first_token_seconds=self.first_token,
            waited=self.started - self.began,
            record=record,
        )

    def _record(self, failure: ModelError | None, completion: Completion | None) -> AttemptRecord:
        usage = completion.usage if completion else Usage()
        model = completion.model if completion else self.route.model
        return AttemptRecord(
            id=new_id(),
            provider=self.route.provider.value,
            model=model,
            key_id=self.route.key.id,
            attempt=self.number,
            outcome="ok" if completion else failure.code if failure else ABORTED,
            seconds=self._now() - self.started,
            error_class=None if failure is None else error_class(failure),
            first_token_seconds=self.first_token,
            usage=usage,
            cost_usd=self.catalogue.cost(self.route.provider, model, usage),
            request_id=completion.request_id if completion else None,
            charged=self._charged(failure, completion),
            reservation=self.reservation,
        )

    def _charged(self, failure: ModelError | None, completion: Completion | None) -> int:
        """Tokens, estimated where the provider said nothing. A failed attempt that had begun to answer was paid for; so
        may have been one that was broken off: the provider had the request, and went on with it perhaps."""
        usage = completion.usage if completion else Usage()
        if usage.input_tokens is not None and usage.output_tokens is not None:
            return usage.input_tokens + usage.output_tokens
        began = failure is None or isinstance(failure, ModelTimeoutError) or self.first_byte is not None
        return estimate_tokens(self.request) + self.chars // 3 if began else 0

    def _log_failure(self, error: ModelError) -> None:
        said = {
            **self._names(),
            "attempt": self.number,
            "seconds": round(self._now() - self.started, 3),
            "error_code": error.code,
            "status": error.status,
            "error": error.message,
        }
        if isinstance(error, ModelTimeoutError):
            log.warning("llm timeout", **said)
        elif isinstance(error, ModelAuthError):
            key_log.error("llm.key_refused", **said)
        else:
            key_log.warning("llm.attempt_failed", **said, retry_after=error.retry_after)

    def _count(self, failure: ModelError | None, completion: Completion | None) -> None:
        provider, model = self.route.provider.value, self.route.model
        outcome = ANSWERED if completion else failure.code if failure else ABORTED
        self.metrics.attempted(provider, model, outcome, self._now() - self.started)
        if self.first_byte is not None:
            self.metrics.began(provider, model, self.first_byte, self.first_token)
        if completion is not None:
            cost = self.catalogue.cost(self.route.provider, completion.model, completion.usage)
            self.metrics.used(provider, model, completion.usage, cost)

    def _names(self) -> dict[str, str]:
        return {"provider": self.route.provider.value, "model": self.route.model, "key": self.route.key.name}

    def _now(self) -> float:
        return self.clock.monotonic()
