"""Silence is bounded, and whatever happens the stream behind is closed."""

import asyncio
from contextlib import aclosing

import pytest

from atom.llm.adapters.script import Reply
from atom.llm.deadlines import Silence, watched
from atom.llm.errors import ModelTimeoutError
from atom.llm.ports import Completion
from atom.llm.testing import ScriptedModel, ask


async def drain(model: ScriptedModel, silence: Silence) -> Completion:
    last: Completion | None = None
    async for item in watched(model.stream(ask("x")), silence, provider="p", model="m"):
        if isinstance(item, Completion):
            last = item
    assert last is not None
    return last


async def test_pauses_below_the_bounds_are_fine() -> None:
    model = ScriptedModel(Reply(chunks=("a", "b", "c"), delay=0.1, chunk_delay=0.1))
    assert (await drain(model, Silence(first_byte=0.5, idle=0.5))).text == "abc"


@pytest.mark.parametrize(
    ("reply", "silence", "said"),
    [
        (Reply("a", delay=5), Silence(0.05, 5), "did not begin to answer within 0.05 s"),
        (Reply(chunks=("a", "b"), chunk_delay=5), Silence(5, 0.05), "stopped in its answer"),
    ],
)
async def test_silence_ends_the_attempt(reply: Reply, silence: Silence, said: str) -> None:
    model = ScriptedModel(reply)
    with pytest.raises(ModelTimeoutError, match=said) as caught:
        await drain(model, silence)
    assert caught.value.hint.startswith("ATOM_LLM__")
    assert model.closed == 1


async def test_a_sign_of_life_counts() -> None:
    model = ScriptedModel(Reply(chunks=("", "", "", "a"), chunk_delay=0.1))
    assert (await drain(model, Silence(first_byte=0.3, idle=0.3))).text == "a"


async def test_cancelled_reader_closes_the_stream() -> None:
    model = ScriptedModel(Reply(chunks=("a", "b"), chunk_delay=5))
    task = asyncio.create_task(drain(model, Silence(9, 9)))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert model.closed == 1


async def test_reader_that_stops_closes_the_stream() -> None:
    model = ScriptedModel(Reply(chunks=("a", "b")))
    async with aclosing(watched(model.stream(ask("x")), Silence(9, 9), provider="p", model="m")) as items:
        await anext(items)
    assert model.closed == 1
