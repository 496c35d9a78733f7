"""One try of a model call: bounded in time and size, logged and counted."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from atom.kit.clock import Clock
from atom.llm.deadlines import Silence, watched
from atom.llm.errors import (
    MalformedReplyError,
    ModelAuthError,
    ModelError,
    ModelTimeoutError,
    TruncatedReplyError,
)
from atom.llm.metrics import ABORTED, ANSWERED, LlmMetrics
from atom.llm.ports import ChatModel, ChatRequest, Completion, TextDelta
from atom.settings import LlmSettings

# With initial values, not .bind(): that would freeze whatever logging is set up when this module is imported.
log = structlog.get_logger(service="agent_execution")
key_log = structlog.get_logger(service="byok")

OnDelta = Callable[[int, int, str], Awaitable[None] | None]  # attempt (from 1), offset of the text in it, text
MAX_REPLY_CHARS = 2_000_000


@dataclass(frozen=True, slots=True)
class CompletedCall:
    """A reply and what it took. The seconds are of the attempt that answered; `waited` is all that went before it."""

    completion: Completion
    attempt: int
    seconds: float
    first_byte_seconds: float
    first_token_seconds: float | None  # None: the reply has no text
    waited: float


@dataclass(slots=True)
class Attempt:
    """One try: what is measured while it runs, and what is said about it afterwards."""

    model: ChatModel
    request: ChatRequest
    on_delta: OnDelta | None
    settings: LlmSettings
    metrics: LlmMetrics
    clock: Clock
    number: int
    began: float  # of the first attempt
    started: float = 0.0
    first_byte: float | None = None
    first_token: float | None = None
    chars: int = 0

    async def run(self) -> CompletedCall:
        self.started = self._now()
        outcome = ABORTED
        try:
            completion = await self._bounded()
            outcome = ANSWERED
        except ModelError as error:
            outcome = error.code
            self._log_failure(error)
            raise
        finally:
            self._count(outcome)
        return self._completed(completion)

    async def _bounded(self) -> Completion:
        total = self.settings.timeout
        bound = asyncio.timeout(total - (self.started - self.began))
        try:
            async with bound:
                return await self._read()
        except TimeoutError:
            if not bound.expired():
                raise
            hint = "Raise ATOM_LLM__TIMEOUT, or ask for shorter answers with ATOM_LLM__MAX_TOKENS."
            raise self._error(ModelTimeoutError, f"did not finish its answer within {total:g} s.", hint) from None

    async def _read(self) -> Completion:
        silence = Silence(self.settings.first_byte_timeout, self.settings.idle_timeout)
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

    def _completed(self, completion: Completion) -> CompletedCall:
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
        )

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

    def _count(self, outcome: str) -> None:
        provider = self.model.provider
        self.metrics.requests.labels(provider, outcome).inc()
        self.metrics.seconds.labels(provider).observe(self._now() - self.started)
        if self.first_byte is not None:
            self.metrics.first_byte.labels(provider).observe(self.first_byte)

    def _names(self) -> dict[str, str]:
        return {"provider": self.model.provider, "model": self.request.model}

    def _now(self) -> float:
        return self.clock.monotonic()
