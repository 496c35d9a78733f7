"""The span of one attempt at a model, by OpenTelemetry's semantic conventions for generative AI."""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import urlsplit

from atom.infra.trace import MAX_CONTENT_CHARS, NO_SPAN, Span, Tracer, text_of
from atom.llm.ports import Addressed, ChatModel, ChatRequest, Completion, Message, Role
from atom.llm.routes import Route
from atom.settings import Provider

NAMES = {  # the conventions' own, where they have one; a compatible endpoint speaks OpenAI's protocol
    Provider.GEMINI: "gcp.gemini",
    Provider.AZURE: "azure.ai.openai",
    Provider.BEDROCK: "aws.bedrock",
    Provider.COMPATIBLE: "openai",
}
DEFAULT_PORTS = {"https": 443, "http": 80}


def chat_span(
    tracer: Tracer, model: ChatModel, *, route: Route, request: ChatRequest, labels: Mapping[str, str]
) -> AbstractContextManager[Span]:
    if not tracer.on:
        return NO_SPAN
    address, port = _address(model)
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": NAMES.get(route.provider, route.provider.value),
        "gen_ai.request.model": route.model,
        "gen_ai.request.max_tokens": request.max_tokens,
        "gen_ai.request.temperature": request.temperature,
        "gen_ai.request.stream": True,
        "gen_ai.output.type": "json" if request.response_schema is not None else "text",
        "server.address": address,
        "server.port": port,
        **labels,
    }
    if tracer.content:
        attributes |= _asked(request)
    return tracer.span(f"chat {route.model}", attributes, client=True)


def note_reply(tracer: Tracer, span: Span, completion: Completion, first_byte: float | None) -> None:
    if not tracer.on:
        return
    usage = completion.usage
    span.set(
        {
            "gen_ai.response.model": completion.model,
            "gen_ai.response.id": completion.request_id,
            "gen_ai.response.finish_reasons": (completion.finish_reason.value,),
            "gen_ai.response.time_to_first_chunk": first_byte,
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        }
    )
    if tracer.content:
        reply = Message(Role.ASSISTANT, completion.text, completion.tool_calls)
        said = {**_turn(reply), "finish_reason": completion.finish_reason.value}
        span.set({"gen_ai.output.messages": _bounded([said])})


def _address(model: ChatModel) -> tuple[str | None, int | None]:
    if not isinstance(model, Addressed):
        return None, None
    parts = urlsplit(model.url)
    return parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme)


def _asked(request: ChatRequest) -> dict[str, str]:
    system = [message for message in request.messages if message.role is Role.SYSTEM]
    others = [message for message in request.messages if message.role is not Role.SYSTEM]
    asked = {"gen_ai.input.messages": _bounded([_turn(message) for message in others])}
    if system:
        asked["gen_ai.system_instructions"] = _bounded([part for one in system for part in _turn(one)["parts"]])
    return asked


def _turn(message: Message) -> dict[str, Any]:
    if message.role is Role.TOOL:
        result = {"type": "tool_call_response", "id": message.tool_call_id, "response": text_of(message.content)}
        return {"role": "tool", "parts": [result]}
    parts: list[dict[str, Any]] = [{"type": "text", "content": text_of(message.content)}] if message.content else []
    parts += [
        {"type": "tool_call", "id": call.id, "name": call.name, "arguments": text_of(call.arguments)}
        for call in message.tool_calls
    ]
    return {"role": message.role.value, "parts": parts}


def _bounded(items: list[dict[str, Any]]) -> str:
    """The latest of them that fit; the first ones of a long conversation are in the spans before."""
    kept: list[str] = []
    room = MAX_CONTENT_CHARS
    for item in reversed(items):
        text = json.dumps(item, ensure_ascii=False)
        room -= len(text)
        if room < 0:
            break
        kept.append(text)
    return f"[{', '.join(reversed(kept))}]"
