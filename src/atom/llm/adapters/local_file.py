"""A chat model of the operator's own: a GGUF file, run on this machine in the local model's process."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

from atom.llm.adapters import local_weights
from atom.llm.adapters.local_conversation import Reading, conversation, schema_of
from atom.llm.adapters.local_process import Deadlines, LocalProcess, Message, Subject
from atom.llm.choice import local_model
from atom.llm.errors import MalformedReplyError, TruncatedReplyError
from atom.llm.ports import ChatRequest, Completion, FinishReason, TextDelta, ToolCall, Usage
from atom.settings import LlmSettings, Provider

SIGN_SECONDS = 5.0
SHARE = 0.9  # of the time of an attempt: a model that hangs is replaced before the attempt is given up
FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


class LocalFileModel:
    """`ChatModel` of the provider `local` when a file is set."""

    provider = Provider.LOCAL

    def __init__(self, process: LocalProcess, name: str, sign_seconds: float = SIGN_SECONDS) -> None:
        self._process, self._name, self._sign_seconds = process, name, sign_seconds

    async def stream(self, request: ChatRequest) -> AsyncGenerator[TextDelta | Completion, None]:
        yield TextDelta("")  # a sign of life: the first call also loads the model
        reading = Reading() if request.tools else None
        texts: list[str] = []
        done: Message = {}
        async with aclosing(living(self._process.ask(_asked(request)), self._sign_seconds)) as messages:
            async for message in messages:
                done = message.get("done") or done
                piece = message.get("text", "")
                text = reading.feed(piece) if reading else piece
                texts.append(text)
                yield TextDelta(text)
        reason = self._reason(done)
        call: ToolCall | None = None
        if reading is not None and reason is not FinishReason.LENGTH:
            rest, call = self._outcome(reading)
            texts.append(rest)
            yield TextDelta(rest)
        yield self._completion("".join(texts), call, reason, done)

    async def models(self) -> list[str]:
        return [self._name]

    async def aclose(self) -> None:
        await self._process.aclose()

    def _reason(self, done: Message) -> FinishReason:
        reason = FINISH.get(str(done.get("finish")))
        if reason is None:
            raise TruncatedReplyError(
                "The local model ended its reply without saying so.", provider=self.provider, model=self._name
            )
        return reason

    def _outcome(self, reading: Reading) -> tuple[str, ToolCall | None]:
        try:
            return reading.outcome()
        except ValueError as error:
            raise MalformedReplyError(
                "The local model's reply is neither an answer nor a call of a tool.",
                provider=self.provider,
                model=self._name,
            ) from error

    def _completion(self, text: str, call: ToolCall | None, reason: FinishReason, done: Message) -> Completion:
        return Completion(
            text=text,
            tool_calls=(call,) if call else (),
            finish_reason=FinishReason.TOOL_CALLS if call else reason,
            usage=Usage(done.get("input_tokens"), done.get("output_tokens")),
            provider=self.provider,
            model=self._name,
        )


def build_file_model(path: Path, settings: LlmSettings) -> LocalFileModel:
    """Nothing is read yet: the file is looked at with the first request."""
    name, chosen = local_model(settings), settings.local
    subject = Subject(
        name,
        context=chosen.context_tokens,
        slots=1,
        threads=chosen.threads or max(1, _cpus() // 2),
        advice=f"Is {path} ({local_weights.SETTING}) a model that llama.cpp knows, and is there memory enough for it?",
    )
    deadlines = Deadlines(start=max(30.0, settings.timeout), turn=SHARE * settings.timeout)
    process = LocalProcess(partial(local_weights.file_model, path), deadlines, subject)
    return LocalFileModel(process, name, min(SIGN_SECONDS, settings.idle_timeout / 3))


async def living(messages: AsyncGenerator[Message, None], seconds: float) -> AsyncGenerator[Message, None]:
    """The same messages, and an empty one wherever they pause: loading a model and reading a long prompt are silent,
    and have the process's own bounds."""
    step: asyncio.Future[Message] | None = None
    try:
        while True:  # bounded by the deadlines of the process
            step = step or asyncio.ensure_future(anext(messages))
            await asyncio.wait({step}, timeout=seconds)
            if not step.done():
                yield {"text": ""}
                continue
            ended, step = step, None
            try:
                message = ended.result()
            except StopAsyncIteration:
                return
            yield message
    finally:
        if step is not None:
            step.cancel()
            await asyncio.wait({step})
        await messages.aclose()


def _asked(request: ChatRequest) -> dict[str, Any]:
    schema = schema_of(request)
    options = {"temperature": request.temperature, "json_schema": schema}
    return {
        "op": "chat",
        "messages": conversation(request),
        "max_tokens": request.max_tokens,
        "options": {name: value for name, value in options.items() if value is not None},
    }


def _cpus() -> int:
    """That this process may use, where the system says so."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1
