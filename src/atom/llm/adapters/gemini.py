"""Google Gemini, through the official SDK."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import httpx2
from google import genai
from google.genai import errors, types

from atom.kit.clock import Clock, SystemClock
from atom.llm.access import Access
from atom.llm.adapters.assembly import ReplyDraft
from atom.llm.adapters.faults import (
    Route,
    Vendor,
    from_status,
    listed,
    listing,
    malformed,
    quoted,
    translated,
    truncated,
)
from atom.llm.adapters.wire import Endpoint, create_client, endpoint
from atom.llm.ports import ChatRequest, Completion, FinishReason, Message, Role, TextDelta, Usage
from atom.settings import LlmSettings, Provider

DEFAULT_URL = "https://generativelanguage.googleapis.com"
API_VERSION = "v1beta"  # tools and JSON schemas
MAX_LISTED = 1000
# What a call in the history carries that was not made by this model just now: Google's own word for it.
FOREIGN = b"skip_thought_signature_validator"
FINISH = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "SAFETY": FinishReason.CONTENT_FILTER,
    "RECITATION": FinishReason.CONTENT_FILTER,
    "LANGUAGE": FinishReason.CONTENT_FILTER,
    "BLOCKLIST": FinishReason.CONTENT_FILTER,
    "PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "SPII": FinishReason.CONTENT_FILTER,
    "MODEL_ARMOR": FinishReason.CONTENT_FILTER,
}


class _NoSuchError(Exception):
    """This SDK has no class of its own for these; the transport's are translated."""


VENDOR = Vendor(
    base=_NoSuchError, status=_NoSuchError, timeout=_NoSuchError, connection=_NoSuchError, validation=_NoSuchError
)


@contextmanager
def translated_by_gemini(route: Route, clock: Clock) -> Iterator[None]:
    with translated(VENDOR, route, clock):
        try:
            yield
        except errors.UnknownApiResponseError:
            raise malformed(route, "something that is not JSON.") from None
        except errors.APIError as error:
            headers = getattr(error.response, "headers", None)
            said = error.details if isinstance(error.details, dict) else error.message
            code = 401 if _is_key_refused(said) else error.code
            raise from_status(route, code, said, headers, clock.now()) from None


@contextmanager
def of_its_shape(route: Route) -> Iterator[None]:
    """Only around the SDK: over a reply of another shape it trips in whatever way it happens to."""
    try:
        yield
    except (TypeError, AttributeError, LookupError):
        raise malformed(route, "something of another shape.") from None


def _is_key_refused(said: object) -> bool:
    """An invalid key is a 400 here."""
    error = said.get("error") if isinstance(said, Mapping) else None
    details = error.get("details") if isinstance(error, Mapping) else None
    infos = details if isinstance(details, list) else []
    return any(isinstance(info, Mapping) and info.get("reason") == "API_KEY_INVALID" for info in infos)


@dataclass(slots=True)
class GeminiModel:
    client: genai.Client
    http: httpx2.AsyncClient
    endpoint: Endpoint
    clock: Clock

    @property
    def provider(self) -> str:
        return Provider.GEMINI

    @property
    def url(self) -> str:
        return self.endpoint.url

    async def stream(self, request: ChatRequest) -> AsyncIterator[TextDelta | Completion]:
        route = Route(Provider.GEMINI, request.model, self.endpoint.host, self.endpoint.key, self.endpoint.key_label)
        reading, text = Reading(route), ""
        with translated_by_gemini(route, self.clock):
            if request.stream:
                async with aclosing(self._chunks(request, route)) as chunks:
                    async for chunk in chunks:
                        yield TextDelta(reading.feed(chunk))
            else:
                text = reading.feed(await self._whole(request, route))
        completion = reading.completion()
        if text:
            yield TextDelta(text)
        yield completion

    async def models(self) -> list[str]:
        route = Route(Provider.GEMINI, "", self.endpoint.host, self.endpoint.key, self.endpoint.key_label)
        with translated_by_gemini(route, self.clock), listing(route):
            page = await self.client.aio.models.list(config={"page_size": MAX_LISTED})
            return listed(route, [(model.name or "").removeprefix("models/") for model in page.page])

    async def aclose(self) -> None:
        await self.http.aclose()

    async def _chunks(self, request: ChatRequest, route: Route) -> AsyncGenerator[types.GenerateContentResponse, None]:
        stream = await self.client.aio.models.generate_content_stream(
            model=request.model, contents=to_contents(request.messages), config=to_config(request)
        )
        async with aclosing(cast("AsyncGenerator[types.GenerateContentResponse, None]", stream)) as events:
            while True:  # bounded by the stream, and that by the bytes of a reply
                with of_its_shape(route):
                    event = await anext(events, None)
                if event is None:
                    return
                yield event

    async def _whole(self, request: ChatRequest, route: Route) -> types.GenerateContentResponse:
        with of_its_shape(route):
            return await self.client.aio.models.generate_content(
                model=request.model, contents=to_contents(request.messages), config=to_config(request)
            )


@dataclass(slots=True)
class Reading:
    """Reads one reply. `feed` returns the text of a chunk or a whole answer, empty when it carries something else."""

    route: Route
    finish: str | None = None
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    request_id: str | None = None
    draft: ReplyDraft = field(init=False)

    def __post_init__(self) -> None:
        self.draft = ReplyDraft(self.route)

    def feed(self, chunk: types.GenerateContentResponse) -> str:
        self.model = chunk.model_version or self.model
        self.request_id = chunk.response_id or self.request_id
        if chunk.usage_metadata is not None:
            self.usage = _usage(chunk.usage_metadata)
        blocked = chunk.prompt_feedback.block_reason if chunk.prompt_feedback else None
        if blocked is not None:
            self.finish = "PROHIBITED_CONTENT"
        if not chunk.candidates:
            return ""
        candidate = chunk.candidates[0]
        if candidate.finish_reason is not None:
            self.finish = candidate.finish_reason.value
        parts = candidate.content.parts if candidate.content else None
        return "".join(self._part(part) for part in parts or ())

    def completion(self) -> Completion:
        if self.finish is None:
            raise truncated(self.route)
        reason = FINISH.get(self.finish)
        if reason is None:  # MALFORMED_FUNCTION_CALL and its like: nothing of it may be used
            raise truncated(self.route, f"it was ended with the reason {quoted(self.finish, self.route.key)[:40]!r}")
        return self.draft.finish(reason, usage=self.usage, model=self.model, request_id=self.request_id, notes={})

    def _part(self, part: types.Part) -> str:
        if part.function_call is not None:
            call = part.function_call
            draft = self.draft.add_call(len(self.draft.calls), call_id=call.id or "", name=call.name or "")
            self.draft.add_arguments(draft, json.dumps(call.args or {}))
        if not part.text or part.thought:
            return ""
        self.draft.add_text(part.text)
        return part.text


def build(access: Access, settings: LlmSettings, clock: Clock | None = None) -> GeminiModel:
    """Raises ModelNotConfiguredError when the key or the address cannot be used."""
    place = endpoint(access, DEFAULT_URL)
    http = create_client(settings)
    options = types.HttpOptions(
        base_url=place.url,
        api_version=API_VERSION,
        httpx_async_client=http,
        retry_options=types.HttpRetryOptions(attempts=1),
    )
    client = genai.Client(api_key=place.key, vertexai=False, http_options=options)
    return GeminiModel(client, http, place, clock or SystemClock())


def to_config(request: ChatRequest) -> types.GenerateContentConfig:
    system = "\n\n".join(m.content for m in request.messages if m.role is Role.SYSTEM and m.content)
    tools = [
        types.FunctionDeclaration(
            name=tool.name, description=tool.description, parameters_json_schema=dict(tool.parameters)
        )
        for tool in request.tools
    ]
    schema = request.response_schema
    return types.GenerateContentConfig(
        system_instruction=system or None,
        max_output_tokens=request.max_tokens,
        temperature=request.temperature,
        tools=[types.Tool(function_declarations=tools)] if tools else None,
        automatic_continuation=False,  # what the SDK asks by itself has no bound and is in no ledger
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        response_mime_type="application/json" if schema is not None else None,
        response_json_schema=dict(schema) if schema is not None else None,
    )


def to_contents(messages: Sequence[Message]) -> list[types.Content]:
    """Turns of one role are joined; the system prompt stands apart. A result names the function it answers."""
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    contents: list[types.Content] = []
    for message in messages:
        parts = _parts(message, names)
        if not parts:
            continue
        role = "model" if message.role is Role.ASSISTANT else "user"
        if contents and contents[-1].role == role:
            contents[-1].parts = [*(contents[-1].parts or ()), *parts]
        else:
            contents.append(types.Content(role=role, parts=parts))
    return contents


def _parts(message: Message, names: dict[str, str]) -> list[types.Part]:
    if message.role is Role.SYSTEM:
        return []
    if message.role is Role.TOOL:
        name = names.get(message.tool_call_id or "", "unknown")
        return [types.Part(function_response=types.FunctionResponse(name=name, response={"result": message.content}))]
    parts = [types.Part(text=message.content)] if message.content else []
    for call in message.tool_calls:
        function = types.FunctionCall(name=call.name, args=_arguments(call.arguments))
        parts.append(types.Part(function_call=function, thought_signature=FOREIGN))
    return parts


def _arguments(text: str) -> dict[str, Any]:
    """A call in the history may carry garbage: it was refused then, and the model is told so in its result."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return {"invalid": text}
    return found if isinstance(found, dict) else {"invalid": text}


def _usage(reported: types.GenerateContentResponseUsageMetadata) -> Usage:
    spoken, thought = reported.candidates_token_count, reported.thoughts_token_count
    output = None if spoken is None and thought is None else (spoken or 0) + (thought or 0)
    return Usage(reported.prompt_token_count, output, reported.cached_content_token_count)
