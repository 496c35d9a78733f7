"""A process that decides, over and over, what agents may do: `python -m tests.support.decider URL ID,ID,...`.

It goes on until its standard input ends, for ten minutes at most. For each decision it prints a line: when it began and
ended (the monotonic clock, which all processes of a machine share), the agent's number and the verdict; and in the end
the cache's hits and misses. It listens as any replica does.
"""

import asyncio
import sys
import time
from uuid import UUID, uuid4

from prometheus_client import CollectorRegistry
from sqlalchemy import make_url

from atom.agents.service import AgentService
from atom.events.listener import Listener
from atom.events.service import Outbox, Signal
from atom.governance.decide import Trigger
from atom.governance.knowledge import CHANNEL, Hearing, Knowledge
from atom.governance.models import Action, EffectClass, Risk
from atom.governance.service import GovernanceService, Wish
from atom.infra.database_url import libpq
from atom.infra.db import create_engine, create_sessions, unit_of_work
from atom.infra.metrics import DatabaseMetrics
from atom.infra.outage import database_outage
from atom.settings import DatabaseSettings

ACTIONS = {"act": Action("act", Risk.HIGH, EffectClass.EFFECT)}
AT_ONCE = 4
LONGEST = 600.0


async def main(address: str, ids: list[UUID]) -> None:
    url = make_url(address)
    engine = create_engine(url, DatabaseSettings(pool_size=AT_ONCE + 1, max_overflow=0, pool_timeout=5))
    sessions = create_sessions(engine, database_outage(), DatabaseMetrics(CollectorRegistry()))
    governance = GovernanceService(AgentService(Outbox(Signal()), frozenset(ACTIONS), lambda _: None), ACTIONS)
    knowledge: Knowledge = governance.knowledge
    stop = asyncio.Event()
    hearing = Hearing(knowledge, sessions, ACTIONS)
    listening = asyncio.create_task(Listener(libpq(url), {CHANNEL: hearing.hear}).run(stop))
    ending = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    until = time.monotonic() + LONGEST

    async def decide(number: int) -> None:
        while time.monotonic() < until and not ending.done():
            number = (number + 1) % len(ids)
            began = time.monotonic()
            async with unit_of_work(sessions) as session:
                wish = Wish(ids[number], uuid4(), Trigger.MANUAL, "act", {})
                verdict = (await governance.authorize(session, wish, step_key="turn-0.call-0")).verdict
            print("decided", began, time.monotonic(), number, verdict.value, flush=True)

    await asyncio.gather(*(decide(lane * len(ids) // AT_ONCE) for lane in range(AT_ONCE)))
    stop.set()
    await listening
    await engine.dispose()
    print("cache", knowledge.rate.hits, knowledge.rate.misses, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], [UUID(text) for text in sys.argv[2].split(",")]))
