"""OpenAI and every endpoint that speaks its Chat Completions protocol, through the official SDK."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx2
import openai
from pydantic import BaseModel

from atom.kit.clock import Clock, SystemClock
from atom.llm.access import Access
from atom.llm.adapters.assembly import CallDraft, ReplyDraft
from atom.llm.adapters.faults import (
    Route,
    Vendor,
    from_body,
    from_type,
    listed,
    listing,
    quoted,
    translated,
    truncated,
)
from atom.llm.adapters.wire import Endpoint, create_client, endpoint, whole_timeout
from atom.llm.ports import ChatRequest, Completion, FinishReason, Message, Role, TextDelta, ToolSpec, Usage
from atom.settings import LlmSettings, Provider

DEFAULT_URL = "https://api.openai.com/v1"
OWN_HOSTS = ("api.openai.com", ".api.openai.com", ".openai.azure.com")
VENDOR = Vendor(
    base=openai.OpenAIError,
    status=openai.APIStatusError,
    timeout=openai.APITimeoutError,
    connection=openai.APIConnectionError,
    validation=openai.APIResponseValidationError,
)
LIMIT, NEWER_LIMIT = "max_tokens", "max_completion_tokens"
UNKNOWN_NAME = re.compile(r"unsupported|not supported|unrecogni[sz]ed|unknown|unexpected|extra|not permitted", re.I)
FINISH = {
    "stop": FinishReason.STOP,
    "eos": FinishReason.STOP,
    "end_turn": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}

Reply = TypeVar("Reply")


class FunctionDelta(BaseModel):
    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(BaseModel):
    index: int | None = None
    id: str | None = None
    function: FunctionDelta | None = None


class Delta(BaseModel):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class Choice(BaseModel):
    """`delta` in a stream, `message` in a whole answer."""

    index: int = 0
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None


class PromptDetails(BaseModel):
    cached_tokens: int | None = None


class ReportedUsage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None


class Chunk(BaseModel):
    """One event of a stream or a whole answer, as far as it is used. A stream ends with one of usage and no choices."""

    id: str | None = None
    model: str | None = None
    object: str | None = None
    choices: list[Choice] | None = None
    usage: ReportedUsage | None = None


@dataclass(slots=True)
class OpenAIModel:
    """`own`: the address is OpenAI's, which has names that compatible endpoints may not know."""

    client: openai.AsyncOpenAI
    endpoint: Endpoint
    own: bool
    clock: Clock
    patience: httpx2.Timeout
    provider: str = Provider.OPENAI
    asks_usage: bool = True
    other_limit: set[str] = field(default_factory=set)  # models that know the other name of the limit only

    @property
    def url(self) -> str:
        return self.endpoint.url

    async def stream(self, request: ChatRequest) -> AsyncIterator[TextDelta | Completion]:
        route = Route(self.provider, request.model, self.endpoint.host, self.endpoint.key, self.endpoint.key_label)
        reading, text = Reading(route), ""
        with translated(VENDOR, route, self.clock):
            if request.stream:
                stream = await self._adapting(request, self._open)
                async with stream:
                    reading.request_id = stream.response.headers.get("x-request-id")
                    async for chunk in stream:
                        yield TextDelta(reading.feed(chunk))
            else:
                reading.request_id, body = await self._adapting(request, self._whole)
                text = reading.whole(json.loads(body))
        completion = reading.completion()
        if text:
            yield TextDelta(text)
        yield completion

    async def models(self) -> list[str]:
        route = Route(self.provider, "", self.endpoint.host, self.endpoint.key, self.endpoint.key_label)
        with translated(VENDOR, route, self.clock), listing(route):
            page = await self.client.models.list()
            return listed(route, [model.id for model in page.data])

    async def aclose(self) -> None:
        await self.client.close()

    async def _adapting(self, request: ChatRequest, ask: Callable[[ChatRequest], Awaitable[Reply]]) -> Reply:
        """Asks again where the endpoint refused a name that it can do without: it is not sent there any more."""
        for _ in range(2):
            try:
                return await ask(request)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if not self._adapt(request, str(error.body)):
                    raise
        return await ask(request)

    def _adapt(self, request: ChatRequest, said: str) -> bool:
        if "stream_options" in said and request.stream and self.asks_usage and not self.own:
            self.asks_usage = False
            return True
        refused = self.limit_name(request.model) in said and UNKNOWN_NAME.search(said)
        if refused and request.model not in self.other_limit:
            self.other_limit.add(request.model)
            return True
        return False

    def limit_name(self, model: str) -> str:
        return NEWER_LIMIT if self.own is not (model in self.other_limit) else LIMIT

    async def _open(self, request: ChatRequest) -> openai.AsyncStream[object]:
        """The SDK's request, with the events as plain JSON: making its typed objects takes more time than all the
        rest of a stream, and `Chunk` checks what they would not."""
        payload = to_payload(request, limit=self.limit_name(request.model)) | {"stream": True}
        if self.asks_usage:
            payload["stream_options"] = {"include_usage": True}
        return await self.client.post(
            "/chat/completions",
            body=payload,
            options={"security": {"bearer_auth": True}},
            cast_to=object,
            stream=True,
            stream_cls=openai.AsyncStream[object],
        )

    async def _whole(self, request: ChatRequest) -> tuple[str | None, bytes]:
        """The provider's id of the request, and the body as it came."""
        answer = await self.client.chat.completions.with_raw_response.create(
            stream=False, timeout=self.patience, **to_payload(request, limit=self.limit_name(request.model))
        )
        return answer.headers.get("x-request-id"), answer.content


@dataclass(slots=True)
class Reading:
    """Reads one reply. `feed` returns the text of a chunk, empty when it carries something else."""

    route: Route
    request_id: str | None = None
    finish: str | None = None
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    refusal: list[str] = field(default_factory=list)
    draft: ReplyDraft = field(init=False)

    def __post_init__(self) -> None:
        self.draft = ReplyDraft(self.route)

    def feed(self, event: object) -> str:
        chunk = Chunk.model_validate(event)
        if chunk.object == "error" and isinstance(event, Mapping):  # how vLLM reports a failure inside a stream
            raise from_type(self.route, event.get("code"), event)
        return self._take(chunk)

    def whole(self, payload: object) -> str:
        """A reply that came at once: its text."""
        if isinstance(payload, Mapping) and payload.get("error"):  # how some gateways report a failure behind them
            raise from_body(self.route, payload["error"])
        answer = Chunk.model_validate(payload)
        for choice in answer.choices or ():
            choice.delta = _numbered(choice.message or Delta())
        return self._take(answer)

    def _take(self, chunk: Chunk) -> str:
        self.model = chunk.model or self.model
        self.request_id = self.request_id or chunk.id
        if chunk.usage is not None:
            self.usage = _usage(chunk.usage)
        return "".join(self._choice(choice) for choice in chunk.choices or () if choice.index == 0)

    def completion(self) -> Completion:
        if self.finish is None:
            raise truncated(self.route)
        reason = FINISH.get(self.finish)
        if reason is None:
            raise truncated(self.route, f"it was ended with the reason {quoted(self.finish, self.route.key)[:40]!r}")
        if self.refusal:
            reason = FinishReason.CONTENT_FILTER
        notes = {"refusal": "".join(self.refusal)} if self.refusal else {}
        return self.draft.finish(
            reason, usage=self.usage, model=self.model, request_id=self.request_id, notes=dict(notes)
        )

    def _choice(self, choice: Choice) -> str:
        self.finish = choice.finish_reason or self.finish
        delta = choice.delta or Delta()
        text = delta.content or ""
        if delta.refusal:
            self.refusal.append(delta.refusal)
            text += delta.refusal
        if text:
            self.draft.add_text(text)
        for call in delta.tool_calls or ():
            self._tool_call(call)
        return text

    def _tool_call(self, delta: ToolCallDelta) -> None:
        function = delta.function or FunctionDelta()
        draft = self._known_call(delta, function)
        if draft is None:
            key = len(self.draft.calls) if delta.index is None or delta.index in self.draft.calls else delta.index
            draft = self.draft.add_call(key, call_id=delta.id or "", name=function.name or "")
        else:
            draft.id = draft.id or delta.id or ""
            draft.name = draft.name or function.name or ""
        self.draft.add_arguments(draft, function.arguments or "")

    def _known_call(self, delta: ToolCallDelta, function: FunctionDelta) -> CallDraft | None:
        """The call this piece goes on with. Some endpoints leave the index out, or give every call the index 0."""
        calls = self.draft.calls
        begins = bool(delta.id and function.name)
        if delta.index is None:
            return None if begins or not calls else list(calls.values())[-1]
        draft = calls.get(delta.index)
        if draft is not None and begins and draft.id and draft.id != delta.id:
            return None
        return draft


def build(access: Access, settings: LlmSettings, clock: Clock | None = None) -> OpenAIModel:
    """Raises ModelNotConfiguredError when the key or the address cannot be used."""
    place = endpoint(access, DEFAULT_URL)
    client = openai.AsyncOpenAI(
        api_key=place.key, base_url=place.url, max_retries=0, http_client=create_client(settings)
    )
    own = any(place.host == host or (host.startswith(".") and place.host.endswith(host)) for host in OWN_HOSTS)
    return OpenAIModel(client, place, own, clock or SystemClock(), whole_timeout(settings), access.provider)


def to_payload(request: ChatRequest, *, limit: str) -> dict[str, Any]:
    """The body of the call. `limit`: most endpoints know `max_tokens`; OpenAI's newer models the new name only."""
    payload: dict[str, Any] = {
        "model": request.model,
        "messages": [_message(message) for message in request.messages],
        limit: request.max_tokens,
    }
    if request.tools:
        payload["tools"] = [_tool(tool) for tool in request.tools]
    if request.temperature is not None:
        payload["temperature"] = request.temperature
    if request.response_schema is not None:
        schema = {
            "name": "reply",
            "schema": dict(request.response_schema),
            "strict": is_strict(request.response_schema),
        }
        payload["response_format"] = {"type": "json_schema", "json_schema": schema}
    return payload


def _numbered(message: Delta) -> Delta:
    """In a whole answer each entry is a call of its own, whatever it says about itself."""
    calls = [call.model_copy(update={"index": place}) for place, call in enumerate(message.tool_calls or ())]
    return message.model_copy(update={"tool_calls": calls})


def is_strict(schema: object) -> bool:
    """Whether OpenAI's strict mode takes it: every object closed, and all of its properties required."""
    if isinstance(schema, list | tuple):
        return all(is_strict(item) for item in schema)
    if not isinstance(schema, Mapping):
        return True
    if schema.get("type") == "object":
        closed = schema.get("additionalProperties") is False
        if not closed or set(schema.get("required", ())) != set(schema.get("properties", {})):
            return False
    return all(is_strict(value) for value in schema.values())


def _message(message: Message) -> dict[str, Any]:
    if message.role is Role.TOOL:
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.content}
    if not message.tool_calls:
        return {"role": str(message.role), "content": message.content}
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.tool_calls
    ]
    return {"role": str(message.role), "content": message.content or None, "tool_calls": calls}


def _tool(tool: ToolSpec) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def _usage(reported: ReportedUsage) -> Usage:
    details = reported.prompt_tokens_details
    return Usage(reported.prompt_tokens, reported.completion_tokens, details.cached_tokens if details else None)
