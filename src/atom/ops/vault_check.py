"""Whether the stored provider keys open with the key-encryption keys as they are now, and what is said when not."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from atom.infra.db import DatabaseUnavailableError, PoolExhaustedError, Sessions, unit_of_work
from atom.llm.vault.service import Locked, Vault
from atom.ops.checks import Check, Health

REPEAT_SECONDS = 60.0
log = structlog.get_logger(service="byok")


def vault_check(sessions: Sessions, vault: Vault) -> Check:
    """Unhealthy when no stored key opens; degraded when some do not. The cause is in the log, not told to strangers."""
    news = News()

    async def probe() -> Health:
        try:
            async with unit_of_work(sessions) as session:
                if not await vault.used(session):
                    return Health.DISABLED
                locked = await vault.check(session)
        except (DatabaseUnavailableError, PoolExhaustedError):
            return Health.DEGRADED  # the database's own check says what is wrong
        news.tell(locked)
        if locked is None:
            return Health.HEALTHY
        return Health.UNHEALTHY if locked.whole else Health.DEGRADED

    return Check("vault", probe, critical=True)


@dataclass(slots=True)
class News:
    """A line when the vault is locked, again when the reason changes or a minute has gone by, and one when it opens."""

    now: Callable[[], float] = time.monotonic
    _told: str = field(default="", init=False)
    _told_at: float = field(default=0.0, init=False)

    def tell(self, locked: Locked | None) -> None:
        if locked is None:
            if self._told:
                log.info("vault_unlocked")
            self._told = ""
            return
        if locked.error.message == self._told and self.now() - self._told_at < REPEAT_SECONDS:
            return
        self._told, self._told_at = locked.error.message, self.now()
        log.error("vault_locked", error_code=locked.error.code, error=locked.error.message, hint=locked.error.hint)
