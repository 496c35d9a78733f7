"""Objects that nobody needs are deleted: what crashes left, and what has no bodies any more."""

from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import func, select

from atom.infra.db import Sessions, unit_of_work
from atom.memory import archive_store
from atom.memory.cold_turn import Turn
from atom.memory.errors import ColdStoreUnavailableError
from atom.memory.ports import ColdStore

BATCH = 100
MAX_BATCHES = 10_000
log = structlog.get_logger(service="episodic_memory")


@dataclass(frozen=True, slots=True)
class Tidied:
    """`objects` with so many `bytes` are deleted. `pending`: could not be, because the store does not answer."""

    objects: int = 0
    bytes: int = 0
    pending: int = 0


async def tidy(sessions: Sessions, cold: ColdStore, turn: Turn, *, keep_days: float, orphan_seconds: float) -> Tidied:
    """`keep_days`: what a backup of the database may name stays so long. `orphan_seconds`: what was being written so
    long ago is written by nobody any more. Goes on with what a crash has left undone, whenever it is called again."""
    async with unit_of_work(sessions) as session:
        await turn.fence(session)
        await archive_store.sweep(session, orphan_seconds=orphan_seconds)
        now = (await session.execute(select(func.now()))).scalar_one()
    before = now - timedelta(days=keep_days)
    objects = size = 0
    for _ in range(MAX_BATCHES):
        async with unit_of_work(sessions) as session:
            found = await archive_store.garbage(session, before=before, limit=BATCH)
        for number, (id_, path, bytes_) in enumerate(found):
            async with unit_of_work(sessions) as session:
                await turn.fence(session)
            try:
                await cold.delete(path)
            except ColdStoreUnavailableError as error:
                log.warning("memory.cold_object_not_deleted", path=path, error_code=error.code, error=error.message)
                return Tidied(objects, size, len(found) - number)
            async with unit_of_work(sessions) as session:
                await turn.fence(session)
                await archive_store.remove_object(session, id_)
            objects, size = objects + 1, size + bytes_
        if not found:
            break
    return Tidied(objects, size)
