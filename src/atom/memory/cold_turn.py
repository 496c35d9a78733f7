"""Whose turn it is to write to the cold store: one runner of the cluster, fenced by its epoch."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import true
from sqlalchemy.ext.asyncio import AsyncSession

from atom.durable import lease
from atom.durable.lease import FencedError
from atom.errors import UnavailableError
from atom.infra.db import Sessions, unit_of_work
from atom.memory.errors import ArchiveBusyError
from atom.memory.models import ColdLease

LEASE = UUID("00000000-0000-0000-0000-00000000c01d")
POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Turn:
    """Each transaction of the work begins with `fence`: once another has taken over, nothing is written any more."""

    epoch: int
    seconds: float

    async def fence(self, session: AsyncSession) -> None:
        """Raises FencedError."""
        await lease.write(session, ColdLease, LEASE, epoch=self.epoch, seconds=self.seconds, values={})


@asynccontextmanager
async def my_turn(
    sessions: Sessions, owner: str, *, seconds: float, patience: float, alive: Callable[[], Awaitable[None]]
) -> AsyncIterator[Turn]:
    """`seconds`: how long nobody else begins after this process died. `patience`: how long it waits for its turn;
    `alive` is called meanwhile, every second. Raises ArchiveBusyError."""
    turn = Turn(await _claim(sessions, owner, seconds, patience, alive), seconds)
    try:
        yield turn
    finally:
        await asyncio.shield(_release(sessions, turn))


async def _claim(
    sessions: Sessions, owner: str, seconds: float, patience: float, alive: Callable[[], Awaitable[None]]
) -> int:
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    while True:
        async with unit_of_work(sessions) as session:
            epoch = await lease.claim(session, ColdLease, LEASE, owner=owner, seconds=seconds, also=true())
        if epoch is not None:
            return epoch
        if loop.time() >= until:
            raise ArchiveBusyError
        await alive()
        await asyncio.sleep(POLL_SECONDS)


async def _release(sessions: Sessions, turn: Turn) -> None:
    """Where this fails the lease runs out by itself."""
    try:
        async with unit_of_work(sessions) as session:
            await lease.write(session, ColdLease, LEASE, epoch=turn.epoch, seconds=None, values={})
    except (UnavailableError, FencedError):
        return
