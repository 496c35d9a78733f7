"""One row for a call, however often it is made: later attempts take over, and earlier ones change nothing any more."""

import asyncio
from uuid import UUID

import pytest
from sqlalchemy import text

from atom.infra.db import unit_of_work
from atom.skills.execution.errors import SkillChangedError
from atom.skills.execution.models import ExecutionStatus
from atom.skills.execution.orders import Order
from atom.skills.execution.service import Executions
from atom.web.testing import RunningAtom
from tests.skills.execution.conftest import TELL, Start, approved, counting
from tests.support.polling import eventually

WAITS = (
    TELL
    + """
import time
name = json.load(sys.stdin)
print(name, flush=True)
time.sleep(300 if name == "first" else 0)
tell(name)
"""
)


async def order(atom: RunningAtom, given: str) -> Order:
    agent = (await atom.http.get("/api/agents/worker")).json()
    return Order(
        "word-count",
        "agent:worker",
        input=f'"{given}"',
        agent="worker",
        agent_id=UUID(agent["id"]),
        call_key="run:turn-1.call-0",
    )


async def rows(atom: RunningAtom) -> list[tuple[str, int, str | None]]:
    async with unit_of_work(atom.atom.parts.base.sessions) as session:
        found = (await session.execute(text("SELECT status, attempt, value->>'value' FROM skill_execution"))).all()
        return [(row[0], row[1], row[2]) for row in found]


def executions(atom: RunningAtom) -> Executions:
    return atom.atom.parts.skills.executions


async def test_call_that_is_made_again_takes_over_and_the_earlier_end_is_not_recorded(start: Start) -> None:
    async with start() as atom:
        await approved(atom, counting(script=WAITS))
        await atom.agent(tools=["run_skill"], maturity="supervised")
        first = asyncio.create_task(executions(atom).run(await order(atom, "first")))

        async def runs() -> bool:
            return await rows(atom) == [("running", 1, None)]

        await eventually(runs)
        again = await executions(atom).run(await order(atom, "second"))
        assert again.ending.status is ExecutionStatus.COMPLETED
        assert await rows(atom) == [("completed", 2, "second")]
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await rows(atom) == [("completed", 2, "second")]


async def test_cancelled_call_is_on_record_as_cancelled(start: Start) -> None:
    async with start() as atom:
        await approved(atom, counting(script=WAITS))
        await atom.agent(tools=["run_skill"], maturity="supervised")
        first = asyncio.create_task(executions(atom).run(await order(atom, "first")))

        async def runs() -> bool:
            return await rows(atom) == [("running", 1, None)]

        await eventually(runs)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await rows(atom) == [("cancelled", 1, None)]


async def test_repeated_call_does_not_run_another_content_than_the_first(start: Start) -> None:
    async with start() as atom:
        await approved(atom, counting(script=WAITS))
        await atom.agent(tools=["run_skill"], maturity="supervised")
        await executions(atom).run(await order(atom, "second"))
        await approved(atom, counting(script=f"{WAITS}\n# another\n"))
        with pytest.raises(SkillChangedError):
            await executions(atom).run(await order(atom, "second"))
        assert await rows(atom) == [("completed", 1, "second")]
