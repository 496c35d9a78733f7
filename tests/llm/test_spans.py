"""One span for each attempt at a model, by the conventions for generative AI; texts only when they are asked for."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from llmock.testing import LLMockServer
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry

from atom.infra.otel import OtelTracer, exporting_tracer
from atom.infra.trace import MAX_CONTENT_CHARS
from atom.kit.clock import FrozenClock, SystemClock
from atom.llm.access import Access
from atom.llm.calls import Caller
from atom.llm.directory import EnvironmentOnly
from atom.llm.errors import ModelRequestError, ModelUnavailableError
from atom.llm.metrics import LlmMetrics
from atom.llm.ports import ChatModel, ChatRequest, Completion, FinishReason, Message, Role, ToolCall, Usage
from atom.llm.service import LlmService, adapter_factories
from atom.llm.testing import Scripted, ScriptedModel, ask, call
from atom.settings import LlmSettings, Provider, TracingSettings
from tests.llm.test_service import scripted_limits

LABELS = {"atom.run_id": "r1", "atom.step": "reply-1"}
USAGE = Usage(12, 7, 3)
REPLY = Completion("It is 42.", (), FinishReason.STOP, USAGE, "scripted", "scripted-2", "req-9")


class Traced:
    """A service over one scripted model, and the spans of its calls."""

    def __init__(self, *replies: Scripted, content: bool = False) -> None:
        self.exporter = InMemorySpanExporter()
        settings = TracingSettings(enabled=True, content=content)
        self.tracer: OtelTracer = exporting_tracer(settings, "1", self.exporter)
        self.model = ScriptedModel(*replies)

    def service(self) -> LlmService:
        async def load(_: Access) -> ChatModel:
            return self.model

        async def sleep(seconds: float) -> None:
            clock.advance(seconds)

        settings, clock = scripted_limits(), FrozenClock()
        return LlmService(
            settings,
            {Provider.SCRIPTED: load},
            LlmMetrics(CollectorRegistry()),
            clock,
            EnvironmentOnly(settings),
            sleep=sleep,
            tracer=self.tracer,
        )

    async def complete(self, request: ChatRequest) -> None:
        await self.service().complete("scripted", request, caller=Caller(labels=LABELS))

    def spans(self) -> list[ReadableSpan]:
        self.tracer.provider.force_flush()
        return list(self.exporter.get_finished_spans())

    def attributes(self) -> dict[str, Any]:
        [span] = self.spans()
        return dict(span.attributes or {})


async def test_an_answer_has_the_attributes_of_the_conventions() -> None:
    traced = Traced(REPLY)
    await traced.complete(ask("Secret question?"))
    [span] = traced.spans()
    assert (span.name, span.kind, span.status.status_code) == ("chat scripted", SpanKind.CLIENT, StatusCode.UNSET)
    attributes = traced.attributes()
    assert attributes.pop("gen_ai.response.time_to_first_chunk") >= 0
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scripted",
        "gen_ai.request.model": "scripted",
        "gen_ai.request.max_tokens": 4096,
        "gen_ai.request.stream": True,
        "gen_ai.output.type": "text",
        "gen_ai.response.model": "scripted-2",
        "gen_ai.response.id": "req-9",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 3,
        **LABELS,
    }


async def test_each_attempt_is_a_span_and_a_failed_one_names_its_error() -> None:
    failure = ModelUnavailableError("The prompt was: secret", provider="scripted", model="scripted")
    traced = Traced(failure, failure, "fine")
    await traced.complete(ask("Secret question?"))
    spans = traced.spans()
    assert [(span.attributes or {}).get("error.type") for span in spans] == ["llm_unavailable"] * 2 + [None]
    assert [span.status.status_code for span in spans] == [StatusCode.ERROR] * 2 + [StatusCode.UNSET]
    assert "secret" not in "".join(span.to_json() for span in spans)


async def test_a_refused_request_is_one_span() -> None:
    traced = Traced(ModelRequestError("no", provider="scripted", model="scripted"))
    with pytest.raises(ModelRequestError):
        await traced.complete(ask("x"))
    assert traced.attributes()["error.type"] == "llm_request_refused"


async def test_texts_are_there_only_when_content_is_on_and_without_keys() -> None:
    now = call("now", zone="utc")
    said = (
        *(Message(Role.SYSTEM, "Be brief."), Message(Role.ASSISTANT, "", (now,))),
        Message(Role.TOOL, "12:00 sk-canary1234567890", tool_call_id=now.id),
    )
    asked = ask("When?", *said)
    silent, open_ = Traced(REPLY), Traced(REPLY, content=True)
    await silent.complete(asked)
    await open_.complete(asked)
    assert not {"gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions"} & set(
        silent.attributes()
    )
    attributes = open_.attributes()
    assert json.loads(attributes["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be brief."}]
    arguments = '{"zone": "utc"}'
    assert json.loads(attributes["gen_ai.input.messages"]) == [
        {"role": "assistant", "parts": [{"type": "tool_call", "id": now.id, "name": "now", "arguments": arguments}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": now.id, "response": "12:00 ********"}]},
        {"role": "user", "parts": [{"type": "text", "content": "When?"}]},
    ]
    assert json.loads(attributes["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "It is 42."}], "finish_reason": "stop"}
    ]


async def test_of_a_long_conversation_the_latest_part_is_kept() -> None:
    traced = Traced(REPLY, content=True)
    earlier = [Message(Role.USER, f"{number} " + "x" * 5_000) for number in range(100)]
    await traced.complete(ask("Last?", *earlier))
    text = traced.attributes()["gen_ai.input.messages"]
    assert len(text) <= MAX_CONTENT_CHARS + 100
    messages = json.loads(text)
    assert messages[-1]["parts"][0]["content"] == "Last?"
    assert 5 < len(messages) < 20


async def test_a_call_of_tools_is_its_finish_reason() -> None:
    traced = Traced(ToolCall("1", "now", "{}"))
    await traced.complete(ask("x"))
    assert traced.attributes()["gen_ai.response.finish_reasons"] == ("tool_calls",)


async def test_a_provider_at_an_address_names_it_and_never_its_key(
    mock: LLMockServer, llm_settings: Callable[..., LlmSettings], canary: str
) -> None:
    traced = Traced(content=True)
    settings = llm_settings(mock.url)
    service = LlmService(
        settings,
        adapter_factories(settings),
        LlmMetrics(CollectorRegistry()),
        SystemClock(),
        EnvironmentOnly(settings),
        tracer=traced.tracer,
    )
    await service.complete("openai/gpt-x", ask(f"My key is {canary}."))
    await service.aclose()
    attributes = traced.attributes()
    port = int(mock.url.rpartition(":")[2])
    assert (attributes["server.address"], attributes["server.port"]) == ("127.0.0.1", port)
    assert attributes["gen_ai.provider.name"] == "openai"
    assert canary not in traced.spans()[0].to_json()
