"""One process's view of the vault and of the provider keys in it, and what must hold of them whatever happens."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from atom.events.service import Outbox, Signal
from atom.infra.db import Sessions, unit_of_work
from atom.llm.keys.models import ProviderKey
from atom.llm.keys.rotation import rotate
from atom.llm.keys.service import KeyChanges, KeyService, NewKey
from atom.llm.vault.kek import KekSource
from atom.llm.vault.service import Vault
from atom.settings import Provider, VaultSettings
from tests.support.planted import VAULT, base_of, planted

BY = "admin:test"
KEKS = tuple(f"{number:02x}" * 16 + "00112233445566778899aabbccddeeff" for number in range(1, 9))  # in hex


def secret_of(name: str, version: int = 1) -> str:
    return f"{base_of(name)}-{name}-{version:04d}"


def name_of(secret: str) -> str:
    """The name in a first secret; any other secret as it is."""
    bases = {planted(place, "sk-canary") for place in VAULT}
    found = next((base for base in bases if secret.startswith(f"{base}-")), None)
    return secret if found is None else secret[len(found) + 1 :].removesuffix("-0001")


@dataclass(slots=True)
class Replica:
    """`Replica(sessions, home)` keeps its key itself; with `vault` it is brought one, as on several hosts."""

    sessions: Sessions
    home: Path
    vault: VaultSettings = field(default_factory=VaultSettings)
    keys: KeyService = field(init=False)

    def __post_init__(self) -> None:
        self.keys = KeyService(Vault(KekSource(self.vault, self.home)), Outbox(Signal()))

    async def add(self, *names: str, **fields: Any) -> list[ProviderKey]:
        """In one transaction."""
        async with unit_of_work(self.sessions) as session:
            return [await self._add(session, name, fields) for name in names]

    async def _add(self, session: AsyncSession, name: str, fields: dict[str, Any]) -> ProviderKey:
        values = {"provider": Provider.OPENAI, "secret": SecretStr(secret_of(name)), **fields}
        return await self.keys.add(session, BY, NewKey(name=name, **values))

    async def change(self, name: str, **fields: Any) -> ProviderKey:
        async with unit_of_work(self.sessions) as session:
            return await self.keys.change(session, BY, name, KeyChanges(**fields))

    async def renew(self, name: str, version: int) -> None:
        await self.change(name, secret=SecretStr(secret_of(name, version)))

    async def opened(self, name: str) -> str:
        async with unit_of_work(self.sessions) as session:
            key = await self.keys.get(session, name)
            return (await self.keys.secret(session, key)).get_secret_value()

    async def rotated(self) -> dict[str, Any]:
        async def progress(done: int, total: int | None) -> None:
            """Nobody watches."""

        return await rotate(self.sessions, self.keys, progress)

    async def lost(self) -> list[str]:
        """The names of the keys that do not open, or hold something else than they should."""
        found: list[str] = []
        async with unit_of_work(self.sessions) as session:
            for key in await self.keys.page(session, after=None, limit=100_000):
                secret = await self.keys.secret(session, key)
                if secret.get_secret_value() != secret_of(key.name, key.version):
                    found.append(key.name)
        return found

    async def wrapped_by(self) -> set[str]:
        async with unit_of_work(self.sessions) as session:
            return set((await session.scalars(text("SELECT kek_id FROM provider_key WHERE removed_at IS NULL"))).all())

    async def current(self) -> str:
        async with unit_of_work(self.sessions) as session:
            return (await self.keys.vault.unlock(session, again=True)).current.kek_id
