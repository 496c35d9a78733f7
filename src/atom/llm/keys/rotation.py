"""The job that wraps every stored key anew: each row in a transaction of its own, resumed wherever it stopped."""

from typing import Any
from uuid import UUID

from atom.durable.jobs import JobHandler, Progress
from atom.infra.db import Sessions, unit_of_work
from atom.llm.keys import store
from atom.llm.keys.service import KeyService

ROTATE_JOB = "vault_rotate"
BATCH = 100
MAX_BATCHES = 10_000


def rotate_handler(sessions: Sessions, keys: KeyService) -> JobHandler:
    async def handle(params: dict[str, Any], progress: Progress) -> dict[str, Any]:
        return await rotate(sessions, keys, progress)

    return handle


async def rotate(sessions: Sessions, keys: KeyService, progress: Progress) -> dict[str, Any]:
    """Every stored key under the current key-encryption key. Reports how many were wrapped, and its id."""
    async with unit_of_work(sessions) as session:
        kek_id = await keys.vault.begin_rotation(session)
    async with unit_of_work(sessions) as session:
        total = await store.count_to_rewrap(session, kek_id)
    done, after = 0, UUID(int=0)
    for _ in range(MAX_BATCHES):
        async with unit_of_work(sessions) as session:
            ids = await store.to_rewrap(session, kek_id, after=after, limit=BATCH)
        if not ids:
            break
        for id_ in ids:
            async with unit_of_work(sessions) as session:
                await keys.rewrap(session, id_, kek_id)
            done += 1
        after = ids[-1]
        await progress(done, max(total, done))
    async with unit_of_work(sessions) as session:
        left = await store.count_to_rewrap(session, kek_id)
    return {"kek_id": kek_id, "rewrapped": done, "left": left}
