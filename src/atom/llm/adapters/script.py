"""The script of the scripted model: a file of rules, which one answers, and how a reply is played.

The file (ATOM_LLM__SCRIPTED_PATH) is JSON:

    {"ledger": "asked.jsonl",
     "rules": [
       {"user": "(?i)delete", "replies": [
          {"tool_calls": [{"name": "delete_file", "arguments": {"path": "a.txt"}}], "delay": 0.5},
          "It is gone."]},
       {"turns": 4, "replies": [{"attempts": [{"error": {"kind": "unavailable", "status": 503}}, "Back again."]}]},
       {"replies": ["Hello."], "repeat": true}]}

The first rule answers whose conditions hold and that has a reply left. Conditions: `user`, a regular expression found
in the last user message; `turns`, the number of assistant turns in the conversation (such a rule is about that turn).
A rule's replies go by the number of assistant turns since the last user message, so that the same conversation gets the
same reply from any process. `repeat`: the last one is given for ever.

A reply is a text, or an object with
    text, or chunks               what it says; chunks is a list of pieces, as they are to be streamed
    tool_calls                    a list of {name, arguments (an object, or raw text), id (optional)}
    finish_reason                 stop, tool_calls, length, content_filter
    input_tokens, output_tokens   the usage it reports; a quarter of the characters when left out
    delay, chunk_delay            seconds before the first piece, and before each further one
    error                         {kind, message, status, retry_after}, raised after the pieces; kind is one of ERRORS
or with
    attempts                      a list of such replies: for the first, second, ... time that the same request comes

Each request that got its reply or its error, or was hung up on, is one line of `ledger` (relative to the file), if any:
it also counts the attempts, across restarts.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from atom.llm.errors import (
    MalformedReplyError,
    ModelAuthError,
    ModelError,
    ModelNotConfiguredError,
    ModelRateLimitedError,
    ModelRequestError,
    ModelTimeoutError,
    ModelUnavailableError,
    TruncatedReplyError,
)
from atom.llm.ports import ChatRequest, Completion, FinishReason, Role, TextDelta, ToolCall, Usage
from atom.settings import Provider

MAX_FILE_BYTES = 5_000_000
WORDS = re.compile(r"\s*\S+\s*|\s+")
ERRORS: dict[str, type[ModelError]] = {
    "timeout": ModelTimeoutError,
    "unavailable": ModelUnavailableError,
    "rate_limited": ModelRateLimitedError,
    "truncated": TruncatedReplyError,
    "malformed": MalformedReplyError,
    "key_refused": ModelAuthError,
    "request_refused": ModelRequestError,
}


@dataclass(frozen=True, slots=True)
class Reply:
    """What is played for one request: a wait, pieces of text, then the completion or the error."""

    text: str = ""
    chunks: tuple[str, ...] | None = None  # None: the words of `text`
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None  # None: a quarter of the characters, both ways
    delay: float = 0.0
    chunk_delay: float = 0.0
    error: BaseException | None = None

    @property
    def pieces(self) -> tuple[str, ...]:
        return tuple(WORDS.findall(self.text)) if self.chunks is None else self.chunks


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CallSpec(Strict):
    name: str
    arguments: dict[str, Any] | str = {}
    id: str | None = None


class ErrorSpec(Strict):
    kind: Literal["timeout", "unavailable", "rate_limited", "truncated", "malformed", "key_refused", "request_refused"]
    message: str = "The script says so."
    status: int | None = None
    retry_after: float | None = Field(default=None, ge=0)


Seconds = Annotated[float, Field(ge=0, le=3600)]


class ReplySpec(Strict):
    text: str = ""
    chunks: tuple[str, ...] | None = None
    tool_calls: tuple[CallSpec, ...] = ()
    finish_reason: FinishReason | None = None
    input_tokens: int | None = Field(default=None, ge=0)
    output_tokens: int | None = Field(default=None, ge=0)
    delay: Seconds = 0.0
    chunk_delay: Seconds = 0.0
    error: ErrorSpec | None = None


class AttemptsSpec(Strict):
    attempts: tuple[ReplySpec | str, ...] = Field(min_length=1)


class RuleSpec(Strict):
    user: re.Pattern[str] | None = None
    turns: int | None = Field(default=None, ge=0)
    replies: tuple[str | AttemptsSpec | ReplySpec, ...] = Field(min_length=1)
    repeat: bool = False


class ScriptSpec(Strict):
    ledger: str | None = None
    rules: tuple[RuleSpec, ...]


@dataclass(frozen=True, slots=True)
class Position:
    """Where a conversation stands: all assistant turns, those since the last user message, and that message."""

    turns: int
    steps: int
    user: str


def load(path: Path) -> ScriptSpec:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ModelNotConfiguredError(f"The script {path} is larger than {MAX_FILE_BYTES} bytes.")
        return ScriptSpec.model_validate_json(data)
    except OSError as error:
        raise ModelNotConfiguredError(
            f"The script {path} cannot be read: {error.strerror}.", hint="ATOM_LLM__SCRIPTED_PATH names it."
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ModelNotConfiguredError(f"The script {path} is wrong at {place}: {first['msg']}.") from None


def find(script: ScriptSpec, position: Position) -> str | ReplySpec | AttemptsSpec | None:
    """The reply of the first rule whose conditions hold and that has one left."""
    for rule in script.rules:
        if rule.turns is not None and rule.turns != position.turns:
            continue
        if rule.user is not None and rule.user.search(position.user) is None:
            continue
        at = position.steps if rule.turns is None else 0  # such a rule is about one turn only
        if at < len(rule.replies):
            return rule.replies[at]
        if rule.repeat:
            return rule.replies[-1]
    return None


def to_reply(spec: str | ReplySpec, request: ChatRequest, position: Position) -> Reply:
    if isinstance(spec, str):
        return Reply(spec)
    calls = tuple(
        ToolCall(
            id=call.id or f"call_{position.turns}_{index}",  # the same for the same conversation
            name=call.name,
            arguments=call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments),
        )
        for index, call in enumerate(spec.tool_calls)
    )
    tokens = (spec.input_tokens, spec.output_tokens)
    return Reply(
        text=spec.text,
        chunks=spec.chunks,
        tool_calls=calls,
        finish_reason=spec.finish_reason,
        usage=None if tokens == (None, None) else Usage(*tokens),
        delay=spec.delay,
        chunk_delay=spec.chunk_delay,
        error=_error(spec.error, request),
    )


async def play(reply: Reply, request: ChatRequest) -> AsyncIterator[TextDelta | Completion]:
    """Plays one reply as a stream."""
    if reply.delay:
        await asyncio.sleep(reply.delay)
    for index, piece in enumerate(reply.pieces):
        if index and reply.chunk_delay:
            await asyncio.sleep(reply.chunk_delay)
        yield TextDelta(piece)
    if reply.error is not None:
        raise reply.error
    text = "".join(reply.pieces)
    written = len(text) + sum(len(call.arguments) for call in reply.tool_calls)
    yield Completion(
        text=text,
        tool_calls=reply.tool_calls,
        finish_reason=reply.finish_reason or (FinishReason.TOOL_CALLS if reply.tool_calls else FinishReason.STOP),
        usage=reply.usage or Usage(sum(len(m.content) for m in request.messages) // 4, max(1, written // 4)),
        provider=Provider.SCRIPTED,
        model=request.model,
    )


def position_of(request: ChatRequest) -> Position:
    turns = steps = 0
    user = ""
    for message in request.messages:
        if message.role is Role.USER:
            user, steps = message.content, 0
        elif message.role is Role.ASSISTANT:
            turns, steps = turns + 1, steps + 1
    return Position(turns, steps, user)


def digest_of(request: ChatRequest) -> str:
    """The same for the same question, in any process. Instructions are left out: they may tell the time."""
    messages = [asdict(message) for message in request.messages if message.role is not Role.SYSTEM]
    tools = [tool.name for tool in request.tools]
    text = json.dumps([request.model, messages, tools], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def _error(spec: ErrorSpec | None, request: ChatRequest) -> ModelError | None:
    if spec is None:
        return None
    return ERRORS[spec.kind](
        spec.message,
        provider=Provider.SCRIPTED,
        model=request.model,
        status=spec.status,
        retry_after=spec.retry_after,
    )
