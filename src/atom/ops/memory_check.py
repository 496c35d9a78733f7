"""Whether the archive of memory keeps up."""

from atom.infra.db import DatabaseUnavailableError, PoolExhaustedError, Sessions, unit_of_work
from atom.kit.clock import Clock
from atom.memory.jobs import overdue
from atom.ops.checks import Check, Health
from atom.settings import MemorySettings


def memory_check(sessions: Sessions, settings: MemorySettings, clock: Clock) -> Check:
    """Degraded when the scheduled archive has not ended well for three intervals although something is due."""

    async def probe() -> Health:
        if not settings.archive_every_hours:
            return Health.DISABLED
        try:
            async with unit_of_work(sessions) as session:
                late = await overdue(session, settings, clock.now())
        except (DatabaseUnavailableError, PoolExhaustedError):
            return Health.DEGRADED  # the database's own check says what is wrong
        return Health.DEGRADED if late else Health.HEALTHY

    return Check("memory", probe)
