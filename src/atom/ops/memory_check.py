"""Whether what keeps memory in order keeps up: the archive and the consolidation."""

from atom.infra.db import DatabaseUnavailableError, PoolExhaustedError, Sessions, unit_of_work
from atom.kit.clock import Clock
from atom.memory import consolidation_jobs, jobs
from atom.ops.checks import Check, Health
from atom.settings import MemorySettings


def memory_check(sessions: Sessions, settings: MemorySettings, clock: Clock) -> Check:
    """Degraded when a scheduled archive or consolidation has not ended well for three intervals although there is work
    for it. Disabled when neither is scheduled."""

    async def probe() -> Health:
        if not settings.archive_every_hours and not settings.consolidate_every_hours:
            return Health.DISABLED
        now = clock.now()
        try:
            async with unit_of_work(sessions) as session:
                late = await jobs.overdue(session, settings, now)
                late = late or await consolidation_jobs.overdue(session, settings, now)
        except (DatabaseUnavailableError, PoolExhaustedError):
            return Health.DEGRADED  # the database's own check says what is wrong
        return Health.DEGRADED if late else Health.HEALTHY

    return Check("memory", probe)
