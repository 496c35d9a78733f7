"""Runs cancelled at random moments: no connection keeps a transaction, and every run has an owner or an end.

`CANCELLATIONS=1000` is the full volume, which `make campaign` takes.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import URL, text

from atom.identity.models import Principal, Role
from atom.infra.db import unit_of_work
from atom.llm.adapters.script import Reply
from atom.llm.ports import ChatRequest, Completion, TextDelta
from atom.llm.testing import ScriptedModel, call
from atom.runs.errors import RunEndedError
from atom.runs.service import Order
from atom.settings import RunSettings
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.support.polling import eventually

COUNT = int(os.environ.get("CANCELLATIONS", "150"))
AT_ONCE = 6
SEED = 20260
ADMIN = Principal(UUID(int=1), "test", Role.ADMIN)
SCRIPT = (
    Reply(tool_calls=(call("calculate", expression="6*7"),), delay=0.01),
    Reply(tool_calls=(call("write_file", path="a.txt", content="x"),), delay=0.01),
    Reply("done", chunks=("do", "ne"), delay=0.01),
)


class Endless:
    """Any number of runs, each by the turns it has had."""

    provider = "scripted"

    async def stream(self, request: ChatRequest) -> AsyncIterator[TextDelta | Completion]:
        turn = sum(message.role == "assistant" for message in request.messages)
        async for item in ScriptedModel(SCRIPT[turn]).stream(request):
            yield item

    async def aclose(self) -> None:
        """Nothing is open."""


async def rows(atom: RunningAtom, query: str) -> list[tuple[Any, ...]]:
    async with unit_of_work(atom.atom.parts.base.sessions) as session:
        return [tuple(row) for row in (await session.execute(text(query))).all()]


async def cancelled_somewhere(atom: RunningAtom, chance: random.Random) -> None:
    parts = atom.atom.parts
    async with unit_of_work(parts.base.sessions) as session:
        run_id = await parts.runs.start(session, ADMIN, "worker", Order("go"))
    await asyncio.sleep(chance.uniform(0, 0.12))
    try:
        async with unit_of_work(parts.base.sessions) as session:
            await parts.control.cancel(session, ADMIN, run_id)
    except RunEndedError:
        return


async def test_cancellations_at_random_moments_leave_nothing_behind(database: URL, home: Path) -> None:
    print(f"{COUNT} cancellations, seed {SEED}")
    chance = random.Random(SEED)
    settings = settings_for_tests(home, runs=RunSettings(lease_seconds=15, sweep_seconds=0.2, max_concurrent=AT_ONCE))
    async with running_atom(settings, database, Endless()) as atom:
        await atom.agent(tools=["calculate", "write_file"], maturity="supervised")
        for _ in range(0, COUNT, AT_ONCE):
            await asyncio.gather(*(cancelled_somewhere(atom, chance) for _ in range(AT_ONCE)))
        async with asyncio.timeout(20):
            while await rows(atom, "SELECT 1 FROM agent_execution WHERE ended_at IS NULL LIMIT 1"):
                await asyncio.sleep(0.05)
        ends = Counter(status for (status,) in await rows(atom, "SELECT status FROM agent_execution"))
        assert set(ends) <= {"cancelled", "completed"}
        assert ends["cancelled"] > COUNT / 3
        assert await rows(atom, "SELECT 1 FROM agent_execution WHERE lease_owner IS NOT NULL") == []
        twice = (
            "SELECT run_id FROM event WHERE type IN ('run.cancelled', 'run.completed') GROUP BY 1 HAVING count(*) > 1"
        )
        assert await rows(atom, twice) == []
        await asyncio.sleep(0.3)
        held = (
            "SELECT state, query FROM pg_stat_activity WHERE datname = current_database()"
            " AND state LIKE 'idle in transaction%' AND now() - state_change > interval '0.2 seconds'"
        )
        assert await rows(atom, held) == []
        pool: Any = atom.atom.parts.base.engine.pool
        await eventually(lambda: pool.checkedout() <= 1)
        assert atom.atom.worker.control.reason_to_leave(UUID(int=0)) is None
