"""Rows of work for tests of leases, doorbells and jobs, and a doorbell that only writes down who rang."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.durable import store
from atom.durable.models import Job
from atom.durable.ports import Handler, Topic
from atom.infra.db import Sessions, unit_of_work
from atom.kit.ids import new_id
from tests.support.databases import execute


@dataclass(slots=True)
class Bell:
    """A Doorbell in memory."""

    rung: list[tuple[Topic, UUID]] = field(default_factory=list)
    tidied: int = 0

    async def ring(self, session: AsyncSession, topic: Topic, ids: Sequence[UUID]) -> None:
        self.rung += [(topic, id_) for id_ in ids]

    async def work(
        self, handlers: Mapping[Topic, Handler], concurrency: Mapping[Topic, int], stop: asyncio.Event
    ) -> None:
        await stop.wait()

    async def tidy(self, session: AsyncSession) -> int:
        self.tidied += 1
        return 0


async def new_job(sessions: Sessions, kind: str = "count", **params: Any) -> UUID:
    id_ = new_id()
    async with unit_of_work(sessions) as session:
        await store.add(session, {"id": id_, "kind": kind, "params": params, "created_by": "test"})
    return id_


async def job(sessions: Sessions, id_: UUID) -> Job:
    async with unit_of_work(sessions) as session:
        found = await store.get(session, id_)
    assert found is not None
    return found


async def expire(sessions: Sessions, id_: UUID) -> None:
    """What the lease of a worker that died looks like a while later."""
    await execute(sessions, "UPDATE job SET lease_expires_at = now() - interval '1 second' WHERE id = :id", id=id_)
