"""Every ended run becomes an episode, once, with its turns verbatim, whoever dies meanwhile."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from sqlalchemy import URL, text

from atom.durable.sweep import SWEEP_LOCK
from atom.errors import ConflictError
from atom.infra.db import unit_of_work
from atom.llm.adapters.script import Reply
from atom.llm.testing import call
from atom.runs.remembering import RunMemory
from atom.web.testing import RunningAtom
from tests.support.databases import execute, rows

Start = Callable[..., AbstractAsyncContextManager[RunningAtom]]
EPISODES = "SELECT outcome, title, labels, segments, execution_id::text FROM episode ORDER BY id"
SEGMENTS = "SELECT kind, speaker, text, ref FROM episode_segment ORDER BY episode_id, position"


async def seen(atom: RunningAtom, query: str, **values: Any) -> list[tuple[Any, ...]]:
    return await rows(atom.atom.parts.base.sessions, query, **values)


async def remembered(atom: RunningAtom, count: int) -> list[tuple[Any, ...]]:
    """The episodes once there are so many: the worker's own sweep writes them."""
    async with asyncio.timeout(15):
        while True:
            found = await seen(atom, EPISODES)
            if len(found) >= count:
                return found
            await asyncio.sleep(0.05)


async def test_the_turns_of_a_run_are_kept_verbatim_with_their_calls(start: Start) -> None:
    write = call("write_file", path="a.txt", content="  two\n\nlines \N{SNOWMAN}\n")
    async with start(Reply("I write it.", tool_calls=(write,)), "Done: a.txt.") as atom:
        await atom.agent(tools=["write_file"], maturity="autonomous")
        run = await atom.done("worker", "Write two lines.\nInto a.txt.")
        [(outcome, title, _, count, run_id)] = await remembered(atom, 1)
        assert (outcome, title, run_id) == ("success", "Write two lines.", run["id"])
        segments = await seen(atom, SEGMENTS)
        steps = {step["key"]: step for step in await atom.steps(run["id"])}
        assert len(segments) == count
        assert segments[:2] == [
            ("task", "admin:admin", "Write two lines.\nInto a.txt.", "task"),
            ("reply", "worker", "I write it.", "turn-0"),
        ]
        assert segments[2] == (
            "call", "write_file", '{"content":"  two\\n\\nlines \N{SNOWMAN}\\n","path":"a.txt"}', "turn-0.call-0",
        )  # fmt: skip
        assert segments[3] == ("result", "write_file", steps["turn-0.call-0"]["result"]["content"], "turn-0.call-0")
        assert segments[4] == ("reply", "worker", "Done: a.txt.", "turn-1")


async def test_an_approval_and_a_correction_are_part_of_it(start: Start) -> None:
    delete = call("delete_file", path="a.txt")
    async with start(Reply(tool_calls=(delete,)), "Gone.") as atom:
        agent = await atom.agent(tools=["delete_file"], maturity="autonomous")
        atom.folder(agent["id"]).joinpath("a.txt").write_text("x")
        run = await atom.done("worker", "Delete a.txt.")
        await atom.http.post(f"/api/runs/{run['id']}/correct", json={"note": "And say so."})
        [approval] = (await atom.http.get("/api/approvals?status=pending")).json()["items"]
        await atom.http.post(f"/api/approvals/{approval['id']}/approve", json={"note": "fine"})
        await atom.settled(run["id"], "completed")
        await remembered(atom, 1)
        found = {kind: (speaker, text) for kind, speaker, text, _ in await seen(atom, SEGMENTS)}
        assert found["approval"] == ("admin:admin", 'approved delete_file {"path":"a.txt"}: fine')
        assert found["correction"] == ("admin:admin", "And say so.")


@pytest.mark.parametrize(
    ("reply", "then", "outcome"),
    [
        ("ok", None, "success"),
        (Reply(tool_calls=(call("read_file", path="missing.txt"),)), "I could not.", "partial"),
        (ConflictError("the model is broken"), None, "failure"),
    ],
    ids=["answered", "last call failed", "failed"],
)
async def test_how_it_came_out(start: Start, reply: Any, then: Any, outcome: str) -> None:
    async with start(*[one for one in (reply, then) if one is not None]) as atom:
        await atom.agent(tools=["read_file"])
        await atom.done("worker", "go")
        assert [row[0] for row in await remembered(atom, 1)] == [outcome]


async def test_an_episode_carries_what_the_run_has_read(start: Start) -> None:
    async with start("ok") as atom:
        await atom.agent()
        await atom.done("worker", "go")
        await remembered(atom, 1)
        sessions = atom.atom.parts.base.sessions
        await execute(sessions, "DELETE FROM episode")
        labels = """labels = '["secret"]', origin_labels = '["untrusted"]'"""
        await execute(sessions, f"UPDATE agent_execution SET {labels}, remember_at = 'epoch'")
        assert [row[2] for row in await remembered(atom, 1)] == [["secret", "untrusted"]]


async def test_a_run_is_remembered_once_though_its_mark_was_lost(start: Start) -> None:
    """As after a restore of one table, or by a second sweep: the episode itself says that it is there."""
    async with start("ok") as atom:
        await atom.agent()
        await atom.done("worker", "go")
        await remembered(atom, 1)
        await execute(atom.atom.parts.base.sessions, "UPDATE agent_execution SET remember_at = 'epoch'")
        await atom.atom.sweep.once()
        async with asyncio.timeout(15):
            while await seen(atom, "SELECT 1 FROM agent_execution WHERE remember_at IS NOT NULL"):
                await asyncio.sleep(0.05)
        assert len(await seen(atom, EPISODES)) == 1


async def test_a_sweep_that_dies_leaves_neither_half_an_episode_nor_the_mark(start: Start) -> None:
    async with start("ok") as atom:
        await atom.agent()
        await atom.done("worker", "go")
        await remembered(atom, 1)
        sessions = atom.atom.parts.base.sessions
        await execute(sessions, "DELETE FROM episode")
        chore = RunMemory(atom.atom.parts.memory.service)

        async def dying() -> None:
            async with unit_of_work(sessions) as session:
                await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SWEEP_LOCK})
                await session.execute(text("UPDATE agent_execution SET remember_at = 'epoch'"))
                await chore.remember(session)
                [(left,)] = (await session.execute(text("SELECT remember_at FROM agent_execution"))).all()
                assert left is None
                raise RuntimeError("died")

        with pytest.raises(RuntimeError, match="died"):
            await dying()
        assert await seen(atom, "SELECT remember_at FROM agent_execution") == [(None,)]
        assert await seen(atom, EPISODES) == []


async def test_a_run_that_cannot_be_remembered_holds_up_no_other(start: Start, database: URL) -> None:
    async with start("one", "two") as atom:
        await atom.agent()
        first = await atom.done("worker", "go")
        await remembered(atom, 1)
        sessions = atom.atom.parts.base.sessions
        await execute(sessions, "DELETE FROM episode")
        await execute(sessions, "ALTER TABLE episode ADD CHECK (title <> 'go')")
        await execute(sessions, "UPDATE agent_execution SET remember_at = 'epoch'")
        await atom.done("worker", "the other")
        assert [row[1] for row in await remembered(atom, 1)] == ["the other"]
        [(late,)] = await seen(
            atom, "SELECT remember_at > now() FROM agent_execution WHERE id = cast(:id AS uuid)", id=first["id"]
        )
        assert late is True
