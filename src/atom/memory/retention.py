"""What is older than its agent's rule lets it be is forgotten."""

from collections.abc import Awaitable, Callable

import structlog

from atom.infra.db import Sessions, unit_of_work
from atom.memory import keeping, policy_store
from atom.memory.errors import EpisodeHeldError, EpisodeNotFoundError

BATCH = 50
MAX_BATCHES = 100_000
BY = "system"
log = structlog.get_logger(service="episodic_memory")


async def expire(sessions: Sessions, alive: Callable[[], Awaitable[None]]) -> int:
    """Returns how many episodes were forgotten. A legal hold that is set meanwhile stops it for its agent."""
    async with unit_of_work(sessions) as session:
        rules = await policy_store.retained(session)
    forgotten = 0
    for agent_id, days in rules:
        for _ in range(MAX_BATCHES):
            async with unit_of_work(sessions) as session:
                ids = await policy_store.expired(session, agent_id, days, limit=BATCH)
            try:
                for id_ in ids:
                    async with unit_of_work(sessions) as session:
                        await keeping.forget(session, BY, id_, reason=f"retention: older than {days} days")
                    forgotten += 1
            except EpisodeHeldError as error:
                log.info("memory.retention_held", agent_id=str(agent_id), error_code=error.code)
                break
            except EpisodeNotFoundError:  # somebody forgot it just then
                continue
            if not ids:
                break
            await alive()
    return forgotten
