"""What people have set of keys, routes and budgets, as this process knows it: never older than half a second in a call.

Changes are told by NOTIFY; a version that every change counts up is compared behind it, so that a lost notification
costs half a second and nothing else. While the database is away, what was known last stays in force.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from atom.infra.db import DatabaseUnavailableError, PoolExhaustedError, Sessions, unit_of_work
from atom.kit.clock import Clock
from atom.llm.access import Access, KeyInfo, environment_access
from atom.llm.budgets import store as budget_store
from atom.llm.keys import store
from atom.llm.keys.models import KeyStatus, ProviderKey
from atom.llm.keys.service import KeyService
from atom.llm.routes import Budget, Config, RouteLine
from atom.settings import LlmSettings, Provider

CHANNEL = "atom_models"
MAX_AGE = 0.5
PATIENCE = 1.0  # seconds a call waits for a database that hangs; then what was known last stays in force
AWAY = (DatabaseUnavailableError, PoolExhaustedError)
log = structlog.get_logger(service="byok")


class Directory(Protocol):
    """Where the model layer learns what it may use."""

    @property
    def config(self) -> Config:
        """As it was known last."""
        ...

    async def fresh(self) -> Config:
        """Not older than half a second, as long as the database answers."""
        ...

    async def access(self, key: KeyInfo) -> Access:
        """With the secret, for an adapter. Raises VaultLockedError, KeyNotFoundError."""
        ...

    async def refused(self, key: KeyInfo, reason: str) -> None:
        """The provider did not accept it."""
        ...


@dataclass(frozen=True, slots=True)
class EnvironmentOnly:
    """The keys of the environment, and no database."""

    settings: LlmSettings
    config: Config = field(default_factory=Config)

    async def fresh(self) -> Config:
        return self.config

    async def access(self, key: KeyInfo) -> Access:
        return environment_access(self.settings, key.provider)

    async def refused(self, key: KeyInfo, reason: str) -> None:
        """An unnamed key is not on record: each call finds out anew."""


@dataclass(slots=True)
class DatabaseDirectory:
    """What the database says, for every process of the deployment alike."""

    sessions: Sessions
    keys: KeyService
    settings: LlmSettings
    clock: Clock
    config: Config = field(default_factory=Config, init=False)
    _began: float = field(default=float("-inf"), init=False)
    _heard: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _reading: "asyncio.Task[None] | None" = field(default=None, init=False)

    async def fresh(self) -> Config:
        """A database that hangs holds nobody up for longer than its first second."""
        if self._reading is None and (self._heard.is_set() or self._age() >= MAX_AGE):
            self._began = self.clock.monotonic()
            self._reading = asyncio.create_task(self._read())
        if self._reading is not None:
            done, _ = await asyncio.wait({self._reading}, timeout=max(0.0, PATIENCE - self._age()))
            for reading in done:
                if not reading.cancelled():
                    reading.result()
        return self.config

    async def watch(self, stop: asyncio.Event) -> None:
        """Until `stop`: what was changed is known here within a second also when nobody calls a model, and when the
        notification of it was lost."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                await self.fresh()
                heard = asyncio.create_task(self._heard.wait())
                await asyncio.wait({heard, stopping}, timeout=MAX_AGE, return_when=asyncio.FIRST_COMPLETED)
                heard.cancel()
        finally:
            stopping.cancel()
            if self._reading is not None:
                self._reading.cancel()

    def hear(self, _: str) -> None:
        """Something has changed, or may have."""
        self._heard.set()

    async def access(self, key: KeyInfo) -> Access:
        if key.id is None:
            return environment_access(self.settings, key.provider)
        async with unit_of_work(self.sessions) as session:
            row = await self.keys.get(session, str(key.id))
            return Access(info_of(row), await self.keys.secret(session, row))

    async def refused(self, key: KeyInfo, reason: str) -> None:
        if key.id is None:
            return
        try:
            async with unit_of_work(self.sessions) as session:
                await self.keys.refused(session, key.id, version=key.version, reason=reason)
        except AWAY:
            log.warning("byok.refusal_not_recorded", key=key.name, provider=key.provider)
        self._heard.set()

    def _age(self) -> float:
        return self.clock.monotonic() - self._began

    async def _read(self) -> None:
        self._heard.clear()
        try:
            async with unit_of_work(self.sessions) as session:
                await store.one_view(session)  # else a route could name a key that is not among the keys yet
                version = await store.version(session)
                if version != self.config.version:
                    self.config = await _config(session, version)
                    known = {"keys": len(self.config.keys), "routes": len(self.config.lines)}
                    log.info("byok.config_read", version=version, **known)
        except AWAY as error:
            log.debug("byok.config_not_read", error_code=error.code)
        finally:
            self._reading = None


async def _config(session: AsyncSession, version: int) -> Config:
    keys = tuple(info_of(row) for row in await store.usable(session))
    lines = tuple(RouteLine(Provider(row.provider), row.model, row.key_id) for row in await store.routes(session))
    budgets = tuple(
        Budget(row.id, row.scope, row.subject, row.unit, row.window_kind, row.amount)
        for row in await budget_store.all_budgets(session)
    )
    return Config(version, keys, lines, budgets)


def info_of(row: ProviderKey) -> KeyInfo:
    return KeyInfo(
        provider=Provider(row.provider),
        name=row.name,
        id=row.id,
        version=row.version,
        owner=row.owner,
        models=tuple(row.models),
        base_url=row.base_url,
        options=tuple(sorted((str(name), str(value)) for name, value in row.options.items())),
        refused=row.status == KeyStatus.REFUSED,
    )
