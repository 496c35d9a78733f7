"""Readiness: all checks in parallel, each with its own bound, the answer kept for a second."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from atom.kit.clock import Clock, rfc3339
from atom.ops.checks import Check, Health

PROBE_SECONDS = 2.0
CACHE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Report:
    """`ready` false: no traffic to this process."""

    ready: bool
    body: dict[str, Any]


@dataclass(slots=True)
class HealthService:
    checks: Sequence[Check]
    version: str
    clock: Clock
    draining: bool = False
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
        found = await asyncio.gather(*(self._bounded(check) for check in self.checks))
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
        if self.draining:
            body["draining"] = True
        return Report(not blocked, body)

    async def _bounded(self, check: Check) -> Health:
        try:
            return await asyncio.wait_for(check.probe(), PROBE_SECONDS)
        except TimeoutError:
            return Health.UNHEALTHY
