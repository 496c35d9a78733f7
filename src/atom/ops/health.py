"""Readiness: all checks in parallel, each with its own bound, the answer kept for a second."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from atom.kit.clock import Clock, rfc3339
from atom.ops.checks import Check, Health

PROBE_SECONDS = 2.0
CACHE_SECONDS = 1.0
log = structlog.get_logger(service="doctor")


@dataclass(frozen=True, slots=True)
class Report:
    """`ready` false: no traffic to this process. `body` has the same fields in every state."""

    ready: bool
    draining: bool
    body: dict[str, Any]


@dataclass(slots=True)
class HealthService:
    checks: Sequence[Check]
    version: str
    clock: Clock
    draining: bool = False
    probe_seconds: float = PROBE_SECONDS
    _cached: Report | None = field(default=None, init=False)
    _cached_at: float = field(default=0.0, init=False)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def report(self) -> Report:
        """At most one round of probes at a time, at most one a second."""
        async with self._lock:
            if self._cached is None or self.clock.monotonic() - self._cached_at >= CACHE_SECONDS:
                self._cached = await self._probe()
                self._cached_at = self.clock.monotonic()
            return self._cached

    def drain(self) -> None:
        """From now on not ready, at once."""
        self.draining = True
        self._cached = None

    async def _probe(self) -> Report:
        found = await asyncio.gather(*(_bounded(check, self.probe_seconds) for check in self.checks))
        states = {check.id: state for check, state in zip(self.checks, found, strict=True)}
        blocked = self.draining or any(c.critical and states[c.id] is Health.UNHEALTHY for c in self.checks)
        troubled = any(state in {Health.UNHEALTHY, Health.DEGRADED} for state in states.values())
        status = Health.UNHEALTHY if blocked else Health.DEGRADED if troubled else Health.HEALTHY
        body: dict[str, Any] = {
            "status": status.value,
            "version": self.version,
            "timestamp": rfc3339(self.clock.now()),
            "checks": {name: state.value for name, state in states.items()},
        }
        return Report(not blocked, self.draining, body)


async def _bounded(check: Check, seconds: float) -> Health:
    """A probe that does not end is not waited for, not even for the end of its cancellation: a driver may take long."""
    probe = asyncio.ensure_future(check.probe())
    try:
        done, _ = await asyncio.wait({probe}, timeout=seconds)
    finally:
        probe.cancel()
    if not done:
        probe.add_done_callback(lambda late: late.cancelled() or late.exception())  # nobody is left to hear of it
        return Health.UNHEALTHY
    error = probe.exception()
    if error is not None:
        log.error("health.probe_failed", check=check.id, error_code="internal_error", exc_info=error)
        return Health.UNHEALTHY
    return probe.result()
