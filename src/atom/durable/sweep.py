"""The sweep: whatever has work to do and no live worker is rung again, so a lost ring loses nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from atom.durable.ports import Doorbell, Topic
from atom.errors import UnavailableError
from atom.infra.db import Sessions, mine_now, unit_of_work

SWEEP_LOCK = 0x41544F4D_0003
TIDY_EVERY = 60
Finder = Callable[[AsyncSession], Awaitable[Sequence[UUID]]]
Chore = Callable[[AsyncSession], Awaitable[None]]
log = structlog.get_logger(service="worker")


@dataclass(frozen=True, slots=True)
class Sweep:
    """`finders` name, for each topic, rows that wait for a worker; `chores` are other small work that time brings.

    One process of the cluster sweeps at a time.
    """

    sessions: Sessions
    doorbell: Doorbell
    finders: Mapping[Topic, Finder]
    seconds: float
    chores: Sequence[Chore] = ()

    async def run(self, stop: asyncio.Event) -> None:
        turn = 0
        while not stop.is_set():
            try:
                await self.once(tidy=turn % TIDY_EVERY == 0)
            except UnavailableError:
                log.debug("worker.sweep_skipped")
            turn += 1
            try:
                await asyncio.wait_for(stop.wait(), self.seconds)
            except TimeoutError:
                continue

    async def once(self, *, tidy: bool = False) -> int:
        """One pass. Returns how many rows were rung for."""
        rung = 0
        async with unit_of_work(self.sessions) as session:
            if not await mine_now(session, SWEEP_LOCK):
                return 0
            if tidy:
                await self.doorbell.tidy(session)
            for topic, find in self.finders.items():
                ids = await find(session)
                await self.doorbell.ring(session, topic, ids)
                rung += len(ids)
            for chore in self.chores:
                await chore(session)
        return rung
