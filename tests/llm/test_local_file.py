"""The operator's own GGUF file as a chat model: real weights in a real child process."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from atom.llm.access import Access, KeyInfo
from atom.llm.adapters import local_weights
from atom.llm.adapters.local import build
from atom.llm.adapters.local_file import LocalFileModel, living
from atom.llm.adapters.local_process import Deadlines, LocalProcess, Message, Subject
from atom.llm.errors import (
    ModelNotConfiguredError,
    ModelRequestError,
    ModelTimeoutError,
    ModelUnavailableError,
)
from atom.llm.notes import LOCAL_NOTE
from atom.llm.ports import ChatRequest, Completion, FinishReason, Role, TextDelta, ToolSpec
from atom.llm.ports import Message as Said
from atom.settings import LlmSettings, LocalModelSettings, Provider

NAME = "my-model"
CALCULATE = ToolSpec(
    "calculate",
    "Calculate an expression.",
    {"type": "object", "properties": {"expression": {"$ref": "#/$defs/E"}}, "required": ["expression"],
     "$defs": {"E": {"type": "string", "enum": ["6*7"]}}},
)  # fmt: skip
NOW = ToolSpec("current_time", "What time it is.", {"type": "object", "properties": {}})


def model_of(path: Path, **changes: Any) -> LocalFileModel:
    settings = LlmSettings(local=LocalModelSettings(model_path=path, context_tokens=2_048), **changes)
    model = build(Access(KeyInfo(Provider.LOCAL)), settings)
    assert isinstance(model, LocalFileModel)
    return model


async def say(model: LocalFileModel, text: str, **more: Any) -> tuple[list[str], Completion]:
    request = ChatRequest(NAME, (Said(Role.USER, text),), temperature=0, **({"max_tokens": 24} | more))
    *deltas, last = [item async for item in model.stream(request)]
    assert isinstance(last, Completion)
    pieces = [delta.text for delta in deltas if isinstance(delta, TextDelta)]
    assert "".join(pieces) == last.text
    return pieces, last


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model's weights under a name of the operator's."""
    path = tmp_path_factory.mktemp("models") / f"{NAME}.gguf"
    path.symlink_to(local_weights.language_model())
    return path


@pytest_asyncio.fixture(scope="module")
async def model(path: Path) -> AsyncIterator[LocalFileModel]:
    model = model_of(path)
    yield model
    await model.aclose()


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "cannot be read: No such file"), (b"<html>", "is not a GGUF file"), (b"", "is not a GGUF file")],
)
async def test_a_file_that_cannot_be_a_model_is_told_with_its_setting(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    path = tmp_path / "m.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelNotConfiguredError, match=rf"ATOM_LLM__LOCAL__MODEL_PATH: .*m\.gguf {says}"):
        await say(model_of(path), "Hello")
    assert says in str(local_weights.missing(path))  # what /health/ready goes by


async def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelNotConfiguredError, match=r"ATOM_LLM__LOCAL__MODEL_PATH: .*directory"):
        await say(model_of(tmp_path), "Hello")


async def test_a_pause_is_filled_with_signs_of_life_and_nothing_is_lost() -> None:
    go = asyncio.Event()

    async def slow() -> AsyncGenerator[Message, None]:
        yield {"text": "a"}
        await go.wait()
        yield {"text": "b"}

    seen: list[str] = []
    async with aclosing(living(slow(), 0.01)) as messages:
        async for message in messages:
            seen.append(message["text"])
            if len(seen) == 4:
                go.set()
    assert (seen[0], seen[-1], "".join(seen)) == ("a", "b", "ab")
    assert len(seen) >= 5


async def test_leaving_during_a_pause_closes_what_is_behind() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[Message, None]:
        try:
            await asyncio.Event().wait()
            yield {}
        finally:
            closed.set()

    async with aclosing(living(endless(), 0.01)) as messages:
        await anext(messages)
    assert closed.is_set()


@pytest.mark.local_model
@pytest.mark.skipif(local_weights.missing() is not None, reason=str(local_weights.missing()))
class TestWithAFile:
    async def test_it_talks_freely_in_pieces_as_itself(self, model: LocalFileModel) -> None:
        pieces, reply = await say(model, "Say hello")
        assert len([piece for piece in pieces if piece]) > 3
        assert (reply.provider, reply.model, reply.tool_calls) == ("local", NAME, ())
        assert (reply.finish_reason, reply.usage.output_tokens) == (FinishReason.LENGTH, 24)
        assert (reply.usage.input_tokens or 0) > 5
        assert LOCAL_NOTE not in reply.text + repr(reply.notes)
        assert await model.models() == [NAME]

    async def test_with_tools_it_calls_an_offered_one_or_answers(self, model: LocalFileModel) -> None:
        pieces, reply = await say(model, "Call the tool calculate.", tools=(CALCULATE,), max_tokens=120)
        assert reply.finish_reason is FinishReason.TOOL_CALLS
        [call] = reply.tool_calls
        assert (call.name, json.loads(call.arguments)) == ("calculate", {"expression": "6*7"})
        assert "".join(pieces) == ""

    async def test_a_reply_with_tools_that_is_cut_calls_nothing(self, model: LocalFileModel) -> None:
        _, reply = await say(model, "Call the tool calculate.", tools=(CALCULATE, NOW), max_tokens=4)
        assert (reply.finish_reason, reply.tool_calls) == (FinishReason.LENGTH, ())

    async def test_structured_output_keeps_its_schema(self, model: LocalFileModel) -> None:
        schema = {"type": "object", "properties": {"size": {"enum": ["s", "m"]}}, "required": ["size"],
                  "additionalProperties": False}  # fmt: skip
        _, reply = await say(model, "Which size?", response_schema=schema, max_tokens=60)
        assert json.loads(reply.text)["size"] in {"s", "m"}

    @pytest.mark.parametrize(
        ("text", "more", "says"),
        [
            ("word " * 5_000, {}, "exceeds the available context size"),
            ("x" * 31_000_000, {}, "longer than any local model can take"),
            ("Hello", {"response_schema": {"$ref": "#/nowhere"}}, "nowhere"),
        ],
        ids=["context", "huge", "schema"],
    )
    async def test_what_it_cannot_take_is_refused_for_good_and_it_lives(
        self, model: LocalFileModel, text: str, more: dict[str, Any], says: str
    ) -> None:
        with pytest.raises(ModelRequestError, match=says):
            await say(model, text, **more)
        assert (await say(model, "Say hello", max_tokens=2))[1].text

    async def test_a_killed_child_is_an_error_once_and_then_another_child(self, path: Path) -> None:
        process = LocalProcess(lambda: path, subject=Subject(NAME, slots=1))
        model = LocalFileModel(process, NAME)
        await say(model, "Hello", max_tokens=1)
        first = process.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        with suppress(ModelUnavailableError):
            await say(model, "Hello", max_tokens=1)
        assert (await say(model, "Hello", max_tokens=1))[1].model == NAME
        assert (process.starts, process.pid != first) == (2, True)
        await model.aclose()

    async def test_a_hanging_child_is_replaced_and_leaving_early_ends_the_turn(self, path: Path) -> None:
        process = LocalProcess(lambda: path, Deadlines(turn=3.0), Subject(NAME, slots=1))
        model = LocalFileModel(process, NAME)
        request = ChatRequest(NAME, (Said(Role.USER, "Tell a long story."),), max_tokens=1_500)
        async with aclosing(model.stream(request)) as items:
            async for item in items:
                if isinstance(item, TextDelta) and item.text:
                    break
        assert (await say(model, "Hello", max_tokens=1))[1].model == NAME
        assert process.pid is not None
        child = psutil.Process(process.pid)
        child.suspend()
        with pytest.raises(ModelTimeoutError):
            await say(model, "Hello", max_tokens=1)
        assert not child.is_running()
        await model.aclose()

    async def test_a_file_that_does_not_load_is_told_with_its_setting(self, tmp_path: Path) -> None:
        broken = tmp_path / "broken.gguf"
        broken.write_bytes(b"GGUF and nothing else")
        with pytest.raises(ModelUnavailableError, match="exit code") as caught:
            await say(model_of(broken), "Hello")
        assert "ATOM_LLM__LOCAL__MODEL_PATH" in caught.value.hint
