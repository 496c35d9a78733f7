"""Whether skills can be run: asked of the sandbox only where it is used."""

import asyncio

from atom.ops.checks import Check, Health
from atom.skills.sandbox.access import SandboxAccess

SECONDS = 1.0


def sandbox_check(sandbox: SandboxAccess) -> Check:
    """Degraded when the last attempt found none, or a runner elsewhere does not answer. Disabled until it is used."""

    async def probe() -> Health:
        if sandbox.own:
            if sandbox.away:
                return Health.DEGRADED
            return Health.HEALTHY if sandbox.used else Health.DISABLED
        try:
            async with asyncio.timeout(SECONDS):
                return Health.HEALTHY if await sandbox.answers() else Health.DEGRADED
        except TimeoutError:
            return Health.DEGRADED

    return Check("sandbox", probe)
