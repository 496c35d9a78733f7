"""What every provider promises, the fake one included: one test, four implementations."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, cast

import pytest
import pytest_asyncio
from llmock.scenarios import Fail, Reply, StreamFault, ToolCall
from llmock.testing import LLMockServer

from atom.llm.errors import ModelError, ModelRateLimitedError, ModelUnavailableError, TruncatedReplyError
from atom.llm.ports import ChatModel, ChatRequest, Completion, FinishReason, Message, Role, TextDelta, ToolSpec
from atom.llm.testing import ScriptedModel, ask, call
from atom.settings import Provider

READ = ToolSpec("read_file", "Reads a file.", {"type": "object", "properties": {"path": {"type": "string"}}})


@dataclass
class Stage:
    """A model, and how it is told what to answer next."""

    model: ChatModel
    says: Callable[[str], None]
    calls: Callable[[str, dict[str, object]], None]
    fails: Callable[[type[ModelError]], None]


def on_the_wire(model: ChatModel, mock: LLMockServer) -> Stage:
    faults: dict[type[ModelError], tuple[Any, ...]] = {
        ModelUnavailableError: (Fail(503),),
        ModelRateLimitedError: (Fail(429, retry_after=3),),
        TruncatedReplyError: (Reply(text="a b c d e f"), StreamFault("truncate", after_chunks=3)),
    }
    add = mock.state.scenarios.add
    return Stage(
        model,
        says=lambda text: add(Reply(text=text)),
        calls=lambda name, arguments: add(Reply(tool_calls=(ToolCall(name, arguments),))),
        fails=lambda kind: add(*faults[kind]),
    )


def scripted() -> Stage:
    model = ScriptedModel()

    def fail(kind: type[ModelError]) -> None:
        wait = 3.0 if kind is ModelRateLimitedError else None
        model.replies.append(kind("no", provider="scripted", model="m-1", retry_after=wait))

    return Stage(
        model,
        says=model.replies.append,
        calls=lambda name, arguments: model.replies.append(call(name, **arguments)),
        fails=fail,
    )


@pytest_asyncio.fixture(params=[Provider.SCRIPTED, Provider.OPENAI, Provider.ANTHROPIC, Provider.GEMINI])
async def stage(
    request: pytest.FixtureRequest, mock: LLMockServer, adapter: Callable[..., ChatModel]
) -> AsyncIterator[Stage]:
    if request.param is Provider.SCRIPTED:
        yield scripted()
    else:
        yield on_the_wire(adapter(request.param, mock.url), mock)


async def read(model: ChatModel, request: ChatRequest) -> list[TextDelta | Completion]:
    return [item async for item in model.stream(request)]


async def test_text_then_one_completion(stage: Stage) -> None:
    stage.says("Four words are here.")
    *deltas, last = await read(stage.model, ask("How many?", model="m-1"))
    assert isinstance(last, Completion)
    assert all(isinstance(delta, TextDelta) for delta in deltas)
    assert "".join(cast("TextDelta", delta).text for delta in deltas) == last.text == "Four words are here."
    assert last.finish_reason is FinishReason.STOP
    assert (last.provider, last.model) == (stage.model.provider, "m-1")
    assert last.usage.input_tokens is not None
    assert last.usage.output_tokens is not None


async def test_tool_call_and_its_result(stage: Stage) -> None:
    stage.calls("read_file", {"path": "notes.md"})
    question = Message(Role.USER, "Read the notes")
    asked = await read(stage.model, ChatRequest("m-1", (question,), tools=(READ,)))
    turn = asked[-1]
    assert isinstance(turn, Completion)
    assert turn.finish_reason is FinishReason.TOOL_CALLS
    (wanted,) = turn.tool_calls
    assert (wanted.name, json.loads(wanted.arguments)) == ("read_file", {"path": "notes.md"})
    stage.says("They say hello.")
    history = (
        Message(Role.SYSTEM, "Be brief."),
        question,
        Message(Role.ASSISTANT, turn.text, turn.tool_calls),
        Message(Role.TOOL, "hello", tool_call_id=wanted.id),
    )
    answer = (await read(stage.model, ChatRequest("m-1", history, tools=(READ,))))[-1]
    assert isinstance(answer, Completion)
    assert answer.text == "They say hello."


@pytest.mark.parametrize("kind", [ModelUnavailableError, ModelRateLimitedError, TruncatedReplyError])
async def test_failures_are_model_errors(stage: Stage, kind: type[ModelError]) -> None:
    stage.fails(kind)
    with pytest.raises(ModelError) as caught:
        await read(stage.model, ask("x", model="m-1"))
    assert type(caught.value) is kind
    assert caught.value.provider == stage.model.provider
    assert caught.value.retry_after == (3.0 if kind is ModelRateLimitedError else caught.value.retry_after)


async def test_model_can_be_asked_again_after_a_failure(stage: Stage) -> None:
    stage.fails(ModelUnavailableError)
    with pytest.raises(ModelError):
        await read(stage.model, ask("x"))
    stage.says("Back.")
    answer = (await read(stage.model, ask("x")))[-1]
    assert isinstance(answer, Completion)
    assert answer.text == "Back."
