"""Secrets of webhooks in the vault, and their part in a rotation of the vault's key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.llm.vault.envelope import Place
from atom.llm.vault.service import Vault
from atom.triggers import store

SEALED_FOR = "webhook"  # where the envelope of a provider key names the provider


@dataclass(frozen=True, slots=True)
class VaultSecrets:
    """`Secrets` in the vault that keeps the provider keys, and a part of its rotation (`Sealed`)."""

    vault: Vault

    async def seal(self, session: AsyncSession, trigger_id: UUID, version: int, secret: str) -> dict[str, Any]:
        return await self.vault.seal(session, Place(str(trigger_id), SEALED_FOR, version), secret)

    async def unseal(self, session: AsyncSession, trigger_id: UUID, version: int, envelope: Mapping[str, Any]) -> str:
        return await self.vault.unseal(session, Place(str(trigger_id), SEALED_FOR, version), envelope)

    async def to_rewrap(self, session: AsyncSession, kek_id: str, *, after: UUID, limit: int) -> Sequence[UUID]:
        return await store.sealed_otherwise(session, kek_id, after=after, limit=limit)

    async def rewrap(self, session: AsyncSession, id_: UUID, kek_id: str) -> None:
        trigger = await store.get(session, id_)
        if trigger is None or trigger.kek_id in {None, kek_id}:
            return
        place = Place(str(trigger.id), SEALED_FOR, trigger.secret_version)
        envelope = await self.vault.rewrap(session, place, trigger.envelope)
        await store.rewrap(session, trigger.id, envelope, was=str(trigger.kek_id))
