"""Secrets of webhooks in the vault, and their part in a rotation of the vault's key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from atom.durable.jobs import JobHandler, Progress
from atom.infra.db import Sessions, unit_of_work
from atom.llm.vault.envelope import Place
from atom.llm.vault.errors import VaultLockedError
from atom.llm.vault.service import Vault
from atom.triggers import store

SEALED_FOR = "webhook"  # where the envelope of a provider key names the provider
BATCH = 100
MAX_BATCHES = 10_000
log = structlog.get_logger(service="byok")


@dataclass(frozen=True, slots=True)
class VaultSecrets:
    """`Secrets` in the vault that keeps the provider keys."""

    vault: Vault

    async def seal(self, session: AsyncSession, trigger_id: UUID, version: int, secret: str) -> dict[str, Any]:
        return await self.vault.seal(session, Place(str(trigger_id), SEALED_FOR, version), secret)

    async def unseal(self, session: AsyncSession, trigger_id: UUID, version: int, envelope: Mapping[str, Any]) -> str:
        return await self.vault.unseal(session, Place(str(trigger_id), SEALED_FOR, version), envelope)

    async def rewrap(self, session: AsyncSession, trigger_id: UUID) -> bool:
        """Under the current key-encryption key. False when there is nothing (left) to do."""
        trigger = await store.get(session, trigger_id)
        current = (await self.vault.unlock(session)).current.kek_id
        if trigger is None or trigger.kek_id in {None, current}:
            return False
        place = Place(str(trigger.id), SEALED_FOR, trigger.secret_version)
        envelope = await self.vault.rewrap(session, place, trigger.envelope)
        return await store.rewrap(session, trigger.id, envelope, was=str(trigger.kek_id))


def with_webhooks(rotate_keys: JobHandler, sessions: Sessions, secrets: VaultSecrets) -> JobHandler:
    """The rotation of the provider keys, then of the secrets of webhooks, told of as one."""

    async def handle(params: dict[str, Any], progress: Progress) -> dict[str, Any]:
        report = await rotate_keys(params, progress)
        done, left = await _rotate(sessions, secrets, str(report["kek_id"]))
        return {**report, "rewrapped": report["rewrapped"] + done, "left": report["left"] + left}

    return handle


async def _rotate(sessions: Sessions, secrets: VaultSecrets, kek_id: str) -> tuple[int, int]:
    """How many were wrapped anew, and how many do not open. Each in a transaction of its own."""
    done, unopened, after = 0, 0, UUID(int=0)
    for _ in range(MAX_BATCHES):
        async with unit_of_work(sessions) as session:
            ids = await store.sealed_otherwise(session, kek_id, after=after, limit=BATCH)
        for id_ in ids:
            try:
                async with unit_of_work(sessions) as session:
                    done += await secrets.rewrap(session, id_)
            except VaultLockedError as error:  # one that does not open must not hold up the others
                log.error("byok.webhook_not_rewrapped", trigger_id=str(id_), error_code=error.code)
                unopened += 1
        if not ids:
            break
        after = ids[-1]
    return done, unopened
