"""Stamps `event.seq` after commit, so that a row never appears below a number that was already served."""

import asyncio
from dataclasses import dataclass

from sqlalchemy import text

from atom.errors import UnavailableError
from atom.events import store
from atom.events.service import Signal
from atom.infra.db import Sessions, unit_of_work

BATCH = 1000
POLL_SECONDS = 0.25  # what a reader waits at most for an event that another process wrote
CHANNEL = "atom_event"

GATHER_SECONDS = 0.01  # under load several events are numbered in one transaction; nobody sees the difference


@dataclass(frozen=True, slots=True)
class Sequencer:
    """Runs in every process; an advisory lock lets one of them work at a time.

    `written` is set when this process committed events, `stamped` when new numbers exist. Other processes learn of
    them by NOTIFY on `atom_event`.
    """

    sessions: Sessions
    written: Signal
    stamped: Signal

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. Survives any outage of the database."""
        wake = self.written.listen()
        try:
            while not stop.is_set():
                count = await self.step()
                if count == BATCH:
                    continue
                if count:
                    await asyncio.sleep(GATHER_SECONDS)
                try:
                    await asyncio.wait_for(wake.wait(), POLL_SECONDS)
                except TimeoutError:
                    continue
                finally:
                    wake.clear()
        finally:
            self.written.forget(wake)

    async def step(self) -> int:
        try:
            async with unit_of_work(self.sessions) as session:
                count = await store.stamp(session, BATCH)
                if count:
                    await session.execute(text("SELECT pg_notify(:channel, '')"), {"channel": CHANNEL})
        except UnavailableError:
            await asyncio.sleep(POLL_SECONDS)
            return 0
        if count:
            self.stamped.set()
        return count
