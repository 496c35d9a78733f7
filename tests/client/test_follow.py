"""Following over a connection that breaks: each event once and in order, bounded tries, honest errors."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from atom.client import AtomClient
from atom.client.errors import LostStreamError
from atom.client.feed import feed
from atom.client.follow import PATIENCE, Item, Source, follow
from atom.client.models import Delta, Event
from atom.client.testing import TOKEN, Act, Cut, FakeAtom, Fault, Happen, Say, serving
from atom.errors import AtomError, NotFoundError, UnauthenticatedError

DONE = Happen("run.completed", {"answer": "ok"}, {"status": "completed"})
waits: list[float] = []


async def no_wait(seconds: float) -> None:
    waits.append(seconds)


@asynccontextmanager
async def following(script: Sequence[Act]) -> AsyncIterator[tuple[FakeAtom, AtomClient, str]]:
    waits.clear()
    atom = FakeAtom(script=script)
    run_id = atom.add_run("guide", "task")["id"]
    with serving(atom.app()) as url:
        async with AtomClient(url, TOKEN, pause=no_wait) as client:
            yield atom, client, run_id


def types(items: list[Item]) -> list[str]:
    return [item.type for item in items if isinstance(item, Event)]


async def test_a_cut_loses_and_repeats_nothing() -> None:
    script: list[Act] = [
        Happen("run.queued"),
        Happen("run.started"),
        Cut(),
        Happen("model.replied", {"step": "turn-0", "text": "a"}),
        Cut(clean=True),
        Cut(),
        DONE,
    ]
    drops: list[str] = []
    async with following(script) as (_, client, run_id):
        follow = client.runs.follow(run_id, on_drop=lambda error, wait: drops.append(error.code))
        items = [item async for item in follow]
    assert types(items) == ["run.queued", "run.started", "model.replied", "run.completed"]
    assert drops == ["connection_dropped"] * 3


async def test_it_goes_on_behind_the_last_event_and_not_from_the_start() -> None:
    async with following([Happen("run.queued"), Happen("run.started"), Cut(), DONE]) as (atom, client, run_id):
        assert len([item async for item in client.runs.follow(run_id)]) == 3
        streams = [seen.query for seen in atom.seen if seen.path.endswith("/events")]
    assert streams == ["after=0", "after=20"]


async def test_after_skips_what_the_caller_has() -> None:
    async with following([Happen("run.queued"), Happen("run.started"), DONE]) as (_, client, run_id):
        assert len([item async for item in client.runs.follow(run_id)]) == 3
        assert types([item async for item in client.runs.follow(run_id, after=20)]) == ["run.completed"]


async def test_deltas_arrive_between_events() -> None:
    async with following([Say("turn-0", 1, 0, "he"), Say("turn-0", 1, 2, "llo"), DONE]) as (_, client, run_id):
        items = [item async for item in client.runs.follow(run_id)]
    assert "".join(item.text for item in items if isinstance(item, Delta)) == "hello"


async def test_a_delta_that_cannot_be_read_does_not_end_the_view() -> None:
    async with following([Say("turn-0", 1, 0, "half an emoji \ud83d"), DONE]) as (_, client, run_id):
        assert types([item async for item in client.runs.follow(run_id)]) == ["run.completed"]


async def test_a_run_that_ended_before_the_cursor_ends_the_stream() -> None:
    async with following([DONE]) as (_, client, run_id):
        assert len([item async for item in client.runs.follow(run_id)]) == 1
        assert [item async for item in client.runs.follow(run_id, after=10)] == []


async def test_a_server_that_is_away_for_a_while_is_waited_for() -> None:
    async with following([Happen("run.queued"), DONE]) as (atom, client, run_id):
        atom.faults.append(
            Fault(f"/api/runs/{run_id}/events", 503, {"code": "draining"}, {"Retry-After": "7"}, times=3)
        )
        assert types([item async for item in client.runs.follow(run_id)]) == ["run.queued", "run.completed"]
    assert waits == [7.0, 7.0, 7.0], "the server says how long to wait"


async def test_the_tries_are_bounded_and_grow_apart() -> None:
    async with following([Happen("run.queued"), *[Cut()] * 50]) as (atom, client, run_id):
        with pytest.raises(LostStreamError) as caught:
            _ = [item async for item in client.runs.follow(run_id)]
        streams = [seen for seen in atom.seen if seen.path.endswith("/events")]
    assert caught.value.retryable
    assert caught.value.details["after"] == 10
    assert len(streams) == PATIENCE + 1
    assert waits[0] < 1 < waits[-1] <= 5


async def test_an_unknown_run_is_told_at_once() -> None:
    async with following([]) as (atom, client, _):
        with pytest.raises(NotFoundError) as caught:
            _ = [item async for item in client.runs.follow("nope")]
        assert len(atom.seen) == 1
    assert caught.value.code == "run_not_found"


async def test_nobody_at_the_address_is_an_error_after_the_tries() -> None:
    with serving(FakeAtom().app()) as url:
        pass
    async with AtomClient(url, TOKEN, pause=no_wait) as client:
        with pytest.raises(AtomError) as caught:
            _ = [item async for item in client.runs.follow("x")]
    assert caught.value.code == "stream_lost"
    assert "does not answer" in caught.value.hint


async def test_the_feed_reconnects_behind_the_last_event() -> None:
    atom = FakeAtom(
        script=[Happen("agent.created"), Say("turn-0", 1, 0, "x"), Cut(), Happen("job.changed"), Cut(), DONE]
    )
    atom.add_run("guide", "task")
    items: list[Item] = []
    with serving(atom.app()) as url:
        async for item in feed(url, TOKEN, pause=no_wait):
            items.append(item)
            if isinstance(item, Event) and item.type == "run.completed":
                break
    assert types(items) == ["agent.created", "job.changed", "run.completed"]
    assert [item.text for item in items if isinstance(item, Delta)] == ["x"]


async def test_the_feed_tells_a_wrong_token_at_once() -> None:
    with serving(FakeAtom().app()) as url, pytest.raises(UnauthenticatedError):
        _ = [item async for item in feed(url, "wrong", pause=no_wait)]


async def test_what_a_server_says_again_is_taken_once() -> None:
    made = [Event(seq=seq, id=str(seq), type="x", at=datetime.now(UTC), actor="a") for seq in (1, 2, 3)]
    connections = 0

    async def forgetful(seq: int) -> AsyncGenerator[Item, None]:
        nonlocal connections
        connections += 1
        for event in made:
            yield event

    async def over() -> bool:
        return connections % 3 == 0

    source = Source("http://x", forgetful, over, lambda event: False)
    assert [item async for item in follow(source, 0, pause=no_wait)] == made
    assert [item async for item in follow(source, 2, pause=no_wait)] == made[2:]
