"""What people have set of keys, routes and budgets, as this process knows it: never older than half a second in a call.

Changes are told by NOTIFY; a version that every change counts up is compared behind it, so that a lost notification
costs half a second and nothing else. While the database is away, what was known last stays in force.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

import structlog

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
    _read_at: float = field(default=float("-inf"), init=False)
    _one: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _task: "asyncio.Task[Config] | None" = field(default=None, init=False)

    async def fresh(self) -> Config:
        if self.clock.monotonic() - self._read_at < MAX_AGE:
            return self.config
        async with self._one:
            if self.clock.monotonic() - self._read_at >= MAX_AGE:
                await self._read()
        return self.config

    def hear(self, _: str) -> None:
        """Something has changed, or may have: read it now, also when no call comes."""
        self._read_at = float("-inf")
        self._task = asyncio.ensure_future(self.fresh())

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
        self._read_at = float("-inf")

    async def _read(self) -> None:
        try:
            async with unit_of_work(self.sessions) as session:
                version = await store.version(session)
                if version != self.config.version:
                    keys = tuple(info_of(row) for row in await store.usable(session))
                    lines = tuple(
                        RouteLine(Provider(row.provider), row.model, row.key_id) for row in await store.routes(session)
                    )
                    budgets = tuple(
                        Budget(row.id, row.scope, row.subject, row.unit, row.window_kind, row.amount)
                        for row in await budget_store.all_budgets(session)
                    )
                    self.config = Config(version, keys, lines, budgets)
                    log.info("byok.config_read", version=version, keys=len(keys), routes=len(lines))
        except AWAY as error:
            log.debug("byok.config_not_read", error_code=error.code)
        self._read_at = self.clock.monotonic()


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
