"""Anthropic, and endpoints that speak its Messages protocol, through the official SDK."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, cast

import anthropic
import httpx2
from anthropic.types import RawMessageStreamEvent
from pydantic import BaseModel

from atom.kit.clock import Clock, SystemClock
from atom.llm.access import Access
from atom.llm.adapters.assembly import ReplyDraft
from atom.llm.adapters.faults import (
    Route,
    Vendor,
    from_body,
    from_type,
    listed,
    listing,
    malformed,
    quoted,
    translated,
    truncated,
)
from atom.llm.adapters.wire import Endpoint, create_client, endpoint, whole_timeout
from atom.llm.ports import ChatRequest, Completion, FinishReason, Message, Role, TextDelta, ToolCall, ToolSpec, Usage
from atom.settings import LlmSettings, Provider

DEFAULT_URL = "https://api.anthropic.com"
VENDOR = Vendor(
    base=anthropic.AnthropicError,
    status=anthropic.APIStatusError,
    timeout=anthropic.APITimeoutError,
    connection=anthropic.APIConnectionError,
    validation=anthropic.APIResponseValidationError,
)
FINISH = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.CONTENT_FILTER,
}


class ReportedUsage(BaseModel):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class Block(BaseModel):
    type: str
    id: str | None = None
    name: str | None = None
    text: str | None = None
    input: dict[str, Any] | None = None


class Delta(BaseModel):
    type: str | None = None
    text: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class Reply(BaseModel):
    """As a stream begins it, without content, or as a whole answer."""

    id: str | None = None
    model: str | None = None
    content: list[Block] | None = None
    stop_reason: str | None = None
    usage: ReportedUsage | None = None


class Failure(BaseModel):
    type: str | None = None
    message: str | None = None


class Event(BaseModel):
    """One event of the stream, as far as it is used."""

    type: str
    index: int | None = None
    message: Reply | None = None
    content_block: Block | None = None
    delta: Delta | None = None
    usage: ReportedUsage | None = None
    error: Failure | None = None


@dataclass(frozen=True, slots=True)
class AnthropicModel:
    client: anthropic.AsyncAnthropic
    endpoint: Endpoint
    clock: Clock
    patience: httpx2.Timeout

    @property
    def provider(self) -> str:
        return Provider.ANTHROPIC

    @property
    def url(self) -> str:
        return self.endpoint.url

    async def stream(self, request: ChatRequest) -> AsyncIterator[TextDelta | Completion]:
        route = Route(Provider.ANTHROPIC, request.model, self.endpoint.host, self.endpoint.key, self.endpoint.key_label)
        reading, text = Reading(route), ""
        with translated(VENDOR, route, self.clock):
            if request.stream:
                stream = await self._open(request)
                # The SDK's own iteration drops pings; they are the only sign of life of a model that thinks for long.
                raw = cast("AsyncGenerator[Any, None]", anthropic.AsyncStream.raw_events(stream.response))
                async with stream, aclosing(raw) as events:
                    reading.request_id = stream.response.headers.get("request-id")
                    async for event in events:
                        if event.data:
                            yield TextDelta(reading.feed(event.json()))
            else:
                reading.request_id, body = await self._whole(request)
                text = reading.whole(json.loads(body))
        completion = reading.completion()
        if text:
            yield TextDelta(text)
        yield completion

    async def models(self) -> list[str]:
        route = Route(Provider.ANTHROPIC, "", self.endpoint.host, self.endpoint.key, self.endpoint.key_label)
        with translated(VENDOR, route, self.clock), listing(route):
            page = await self.client.models.list(limit=1000)
            return listed(route, [model.id for model in page.data])

    async def aclose(self) -> None:
        await self.client.close()

    async def _open(self, request: ChatRequest) -> anthropic.AsyncStream[RawMessageStreamEvent]:
        stream: anthropic.AsyncStream[RawMessageStreamEvent] = await self.client.messages.create(
            stream=True, **to_payload(request)
        )
        return stream

    async def _whole(self, request: ChatRequest) -> tuple[str | None, bytes]:
        """The provider's id of the request, and the body as it came."""
        answer = await self.client.messages.with_raw_response.create(
            stream=False, timeout=self.patience, **to_payload(request)
        )
        return answer.headers.get("request-id"), await answer.read()


@dataclass(slots=True)
class Reading:
    """Reads one reply. `feed` returns the text of an event, empty when it carries something else."""

    route: Route
    request_id: str | None = None
    finish: str | None = None
    model: str = ""
    usage: ReportedUsage = field(default_factory=ReportedUsage)
    draft: ReplyDraft = field(init=False)

    def __post_init__(self) -> None:
        self.draft = ReplyDraft(self.route)

    def feed(self, payload: object) -> str:
        event = Event.model_validate(payload)
        if event.type == "error":
            failure = event.error or Failure()
            raise from_type(self.route, failure.type, failure.message or failure.type or "")
        if event.type == "message_start" and event.message is not None:
            self._head(event.message)
        if event.type == "content_block_start" and event.content_block is not None:
            return self._begin(event.index, event.content_block)
        if event.type == "content_block_delta" and event.delta is not None:
            return self._continue(event.index, event.delta)
        if event.type == "message_delta":
            self.finish = (event.delta.stop_reason if event.delta else None) or self.finish
            self._count(event.usage)
        return ""

    def whole(self, payload: object) -> str:
        """A reply that came at once: its text."""
        if isinstance(payload, Mapping) and payload.get("error"):  # how some gateways report a failure behind them
            raise from_body(self.route, payload["error"])
        reply = Reply.model_validate(payload)
        self._head(reply)
        self.finish = reply.stop_reason
        return "".join(self._begin(place, block) for place, block in enumerate(reply.content or ()))

    def completion(self) -> Completion:
        if self.finish is None:
            raise truncated(self.route)
        reason = FINISH.get(self.finish)
        if reason is None:
            raise truncated(self.route, f"it was ended with the reason {quoted(self.finish, self.route.key)[:40]!r}")
        notes = {"refusal": "".join(self.draft.text)} if reason is FinishReason.CONTENT_FILTER else {}
        return self.draft.finish(
            reason, usage=_usage(self.usage), model=self.model, request_id=self.request_id, notes=dict(notes)
        )

    def _head(self, reply: Reply) -> None:
        self.model = reply.model or self.model
        self.request_id = self.request_id or reply.id
        self._count(reply.usage)

    def _begin(self, index: int | None, block: Block) -> str:
        if block.type == "tool_use":
            draft = self.draft.add_call(index, call_id=block.id or "", name=block.name or "")
            if block.input:  # compatible endpoints send the arguments at once
                self.draft.add_arguments(draft, json.dumps(block.input))
            return ""
        return self._text(block.text or "") if block.type == "text" else ""

    def _continue(self, index: int | None, delta: Delta) -> str:
        if delta.type == "text_delta":
            return self._text(delta.text or "")
        if delta.type == "input_json_delta":
            draft = self.draft.calls.get(index)
            if draft is None:
                raise malformed(self.route, "arguments of a tool call that never began.")
            self.draft.add_arguments(draft, delta.partial_json or "")
        return ""

    def _text(self, piece: str) -> str:
        if piece:
            self.draft.add_text(piece)
        return piece

    def _count(self, usage: ReportedUsage | None) -> None:
        """Counts are cumulative: a later one replaces an earlier one."""
        if usage is not None:
            self.usage = self.usage.model_copy(update=usage.model_dump(exclude_none=True))


def build(access: Access, settings: LlmSettings, clock: Clock | None = None) -> AnthropicModel:
    """Raises ModelNotConfiguredError when the key or the address cannot be used."""
    place = endpoint(access, DEFAULT_URL)
    http = create_client(settings)
    client = anthropic.AsyncAnthropic(api_key=place.key, base_url=place.url, max_retries=0, http_client=http)
    return AnthropicModel(client, place, clock or SystemClock(), whole_timeout(settings))


def to_payload(request: ChatRequest) -> dict[str, Any]:
    """The body of the call: the system prompt stands apart, and turns of one role are joined."""
    payload: dict[str, Any] = {
        "model": request.model,
        "max_tokens": request.max_tokens,
        "messages": to_turns(request.messages),
    }
    system = "\n\n".join(m.content for m in request.messages if m.role is Role.SYSTEM and m.content.strip())
    if system:
        payload["system"] = system
    if request.tools:
        payload["tools"] = [_tool(tool) for tool in request.tools]
    elif called := sorted({call.name for message in request.messages for call in message.tool_calls}):
        # A conversation with tool calls is refused without tools, even when no further call is wanted.
        payload["tools"] = [{"name": name, "input_schema": {"type": "object"}} for name in called]
        payload["tool_choice"] = {"type": "none"}
    if request.temperature is not None:
        payload["extra_body"] = {"temperature": request.temperature}  # no parameter of the SDK any more
    if request.response_schema is not None:
        schema = anthropic.transform_schema(dict(request.response_schema))
        payload["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    return payload


def to_turns(messages: Iterable[Message]) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    for message in messages:
        blocks = _blocks(message)
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(blocks)
        else:
            turns.append({"role": role, "content": blocks})
    return turns


def _blocks(message: Message) -> list[dict[str, Any]]:
    if message.role is Role.SYSTEM:
        return []
    if message.role is Role.TOOL:
        return [{"type": "tool_result", "tool_use_id": message.tool_call_id, "content": message.content}]
    text = [{"type": "text", "text": message.content}] if message.content.strip() else []  # an empty block is refused
    return text + [_tool_use(call) for call in message.tool_calls]


def _tool_use(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = json.loads(call.arguments)
    except json.JSONDecodeError:
        arguments = None
    if not isinstance(arguments, dict):  # the model sees what it wrote, in the only shape the protocol has
        arguments = {"not_json": call.arguments}
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments}


def _tool(tool: ToolSpec) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "input_schema": dict(tool.parameters)}


def _usage(counted: ReportedUsage) -> Usage:
    """What was read from or written to the cache was input too; the provider counts it apart."""
    cached = (counted.cache_read_input_tokens or 0) + (counted.cache_creation_input_tokens or 0)
    total = None if counted.input_tokens is None else counted.input_tokens + cached
    return Usage(total, counted.output_tokens, counted.cache_read_input_tokens)
