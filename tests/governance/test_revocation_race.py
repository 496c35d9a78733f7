"""Three processes decide while agents lose what they had: none is let do anything a second after the commit.

Nothing here goes through Redis, so that it may be up, down or flapping. In one of the ways whoever listens is cut off
again and again. A campaign makes 10,000 decisions in each way (`REVOCATION_DECISIONS`).
"""

import asyncio
import os
import random
import sys
import time
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest
from sqlalchemy import URL

from atom.agents.models import AgentStatus
from atom.agents.service import AgentService, Changes
from atom.events.service import Outbox, Signal
from atom.governance.policies.service import PolicyService
from atom.identity.models import Principal, Role
from atom.infra.db import Sessions, unit_of_work
from tests.conftest import Cluster
from tests.support.databases import backends
from tests.support.decider import ACTIONS
from tests.support.polling import eventually
from tests.support.processes import environment

PROCESSES = 3
AGENTS = 12
ADMIN = Principal(uuid4(), "boss", Role.ADMIN)
WANTED = int(os.environ.get("REVOCATION_DECISIONS", "400"))
KEPT = 2  # agents that lose nothing


@dataclass(slots=True)
class Decided:
    """A line of a process."""

    began: float
    who: int
    verdict: str


@dataclass(slots=True)
class Decider:
    """A process that decides, and what it has said so far."""

    process: asyncio.subprocess.Process
    decided: list[Decided] = field(default_factory=list)
    hits: int = 0

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            what, *said = line.decode().split()
            if what == "decided":
                self.decided.append(Decided(float(said[0]), int(said[2]), said[3]))
            elif what == "cache":
                self.hits = int(said[0])

    async def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert await asyncio.wait_for(self.process.wait(), 20) == 0


async def start(database: URL, ids: list[UUID]) -> Decider:
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "tests.support.decider", database.render_as_string(hide_password=False)]
    process = await asyncio.create_subprocess_exec(
        *command, ",".join(str(id_) for id_ in ids), stdin=pipe, stdout=pipe, env=environment(None)
    )
    return Decider(process)


@dataclass(frozen=True, slots=True)
class Revoking:
    """The ways in which an agent loses what it may do."""

    sessions: Sessions
    agents: AgentService
    policies: PolicyService

    async def revoke(self, number: int, id_: UUID) -> float:
        """When it was so: just after the commit."""
        async with unit_of_work(self.sessions) as session:
            match number % 5:
                case 0:
                    await self.agents.update(session, ADMIN, str(id_), Changes(maturity="student"))
                case 1:
                    await self.agents.set_status(session, ADMIN, str(id_), AgentStatus.PAUSED)
                case 2:
                    await self.agents.update(session, ADMIN, str(id_), Changes(tools=()))
                case 3:
                    await self.agents.set_status(session, ADMIN, str(id_), AgentStatus.RETIRED)
                case _:
                    source = f"policy: race-{number}\nrules:\n- {{name: r, agents: [{id_}], effect: forbid}}\n"
                    await self.policies.apply(session, ADMIN.actor, source)
        return time.monotonic()


async def cut_listening(cluster: Cluster, database: URL, stop: asyncio.Event) -> int:
    """Whoever listens is cut off, as long as it goes on."""
    cut = 0
    while not stop.is_set():
        for pid in await asyncio.to_thread(backends, cluster, database, "atom-listen"):
            with cluster.admin() as connection:
                cut += connection.execute("SELECT pg_terminate_backend(%s)", (pid,)).rowcount
        await asyncio.sleep(0.05)
    return cut


@pytest.mark.parametrize("listening", ["listening", "cut off"])
async def test_no_process_allows_anything_after_it_was_revoked(
    cluster: Cluster, database: URL, sessions: Sessions, listening: str
) -> None:
    agents = AgentService(Outbox(Signal()), frozenset(ACTIONS), lambda _: None)
    revoking = Revoking(sessions, agents, PolicyService(agents, ACTIONS, Outbox(Signal())))
    ids: list[UUID] = []
    async with unit_of_work(sessions) as session:
        for number in range(AGENTS):
            definition = Changes(tools=("act",), maturity="autonomous")
            ids.append((await agents.create(session, ADMIN, f"agent-{number}", definition)).id)
    deciders = [await start(database, ids) for _ in range(PROCESSES)]
    reading = [asyncio.create_task(one.read()) for one in deciders]
    stop = asyncio.Event()
    cutting = asyncio.create_task(cut_listening(cluster, database, stop)) if listening == "cut off" else None
    revoked: dict[int, float] = {}

    def count() -> int:
        return sum(len(one.decided) for one in deciders)

    await eventually(lambda: all(len(one.decided) > 2 * AGENTS for one in deciders), 30, "everybody is known")
    order = random.Random(WANTED).sample(range(AGENTS), AGENTS)
    for number in order[:-KEPT]:
        revoked[number] = await revoking.revoke(number, ids[number])
        enough = count() + WANTED // AGENTS
        await eventually(lambda least=enough: count() >= least, 60)  # type: ignore[misc]
    await eventually(lambda: count() >= WANTED, 60)
    for one in deciders:
        await one.end()
    await asyncio.gather(*reading)
    stop.set()
    assert cutting is None or await cutting >= PROCESSES

    decided = [line for one in deciders for line in one.decided]
    late = [line.began - revoked[line.who] for line in decided if line.verdict == "allow" and line.who in revoked]
    assert max(late) < 1.0, f"an agent was let do it {max(late):.2f} s after it was revoked"
    assert max(late) <= 0, "and in truth not even by the first decision that begins after the commit"
    after = {line.who for line in decided if line.began > revoked.get(line.who, float("inf"))}
    assert after == set(revoked), "each was asked about again"
    assert {line.who for line in decided[-WANTED // 2 :] if line.verdict == "allow"} >= set(order[-KEPT:])
    assert sum(one.hits for one in deciders) > len(decided) / 2, "the cache was in use"
