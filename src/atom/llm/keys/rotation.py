"""The job that wraps every stored secret anew: each row in a transaction of its own, resumed wherever it stopped."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from atom.durable.jobs import JobHandler, Progress
from atom.infra.db import Sessions, unit_of_work
from atom.llm.keys import store
from atom.llm.keys.service import KeyService
from atom.llm.vault.errors import VaultLockedError
from atom.llm.vault.service import Vault

ROTATE_JOB = "vault_rotate"
BATCH = 100
MAX_BATCHES = 10_000
MAX_PASSES = 10  # what others sealed with the former key while a pass went on is left to the next
MAX_TOLD = 20
log = structlog.get_logger(service="byok")


class Sealed(Protocol):
    """Who keeps secrets that the vault has sealed. The view `vault_use` counts them all."""

    async def to_rewrap(self, session: AsyncSession, kek_id: str, *, after: UUID, limit: int) -> Sequence[UUID]:
        """Those that another key-encryption key wraps, by id."""
        ...

    async def rewrap(self, session: AsyncSession, id_: UUID, kek_id: str) -> None:
        """One under the current key-encryption key, if it is not yet. Raises VaultLockedError."""
        ...


@dataclass(frozen=True, slots=True)
class SealedKeys:
    keys: KeyService

    async def to_rewrap(self, session: AsyncSession, kek_id: str, *, after: UUID, limit: int) -> Sequence[UUID]:
        return await store.to_rewrap(session, kek_id, after=after, limit=limit)

    async def rewrap(self, session: AsyncSession, id_: UUID, kek_id: str) -> None:
        await self.keys.rewrap(session, id_, kek_id)


def rotate_handler(sessions: Sessions, keys: KeyService, others: Sequence[Sealed] = ()) -> JobHandler:
    async def handle(params: dict[str, Any], progress: Progress) -> dict[str, Any]:
        return await rotate(sessions, keys, progress, others)

    return handle


async def rotate(
    sessions: Sessions, keys: KeyService, progress: Progress, others: Sequence[Sealed] = ()
) -> dict[str, Any]:
    """Every key, and what `others` keep, under the current key-encryption key. Reports its id, and how many it was.

    With `left` 0 the earlier keys may be dropped. What does not open is left as it is: `unopened` are ids.
    """
    async with unit_of_work(sessions) as session:
        kek_id = await keys.vault.begin_rotation(session)
    rotation, left = Rotation(sessions, keys.vault, (SealedKeys(keys), *others), progress), 0
    for _ in range(MAX_PASSES):
        kek_id = await rotation.go_through()
        async with unit_of_work(sessions) as session:
            await keys.vault.settle(session)
            left = await store.count_to_rewrap(session, kek_id)
        if left <= len(rotation.unopened):
            break
    if rotation.first_error is not None and not rotation.done:
        raise rotation.first_error
    told = [str(id_) for id_ in sorted(rotation.unopened)[:MAX_TOLD]]
    return {"kek_id": kek_id, "rewrapped": rotation.done, "left": left, "unopened": told}


@dataclass(slots=True)
class Rotation:
    sessions: Sessions
    vault: Vault
    sealed: Sequence[Sealed]
    progress: Progress
    done: int = 0
    unopened: set[UUID] = field(default_factory=set)
    first_error: VaultLockedError | None = None

    async def go_through(self) -> str:
        """Everything once. Returns the key-encryption key: another one, where another rotation has begun meanwhile."""
        async with unit_of_work(self.sessions) as session:
            kek_id = (await self.vault.unlock(session, again=True)).current.kek_id
        async with unit_of_work(self.sessions) as session:
            total = self.done + await store.count_to_rewrap(session, kek_id)
        self.unopened = set()
        for one in self.sealed:
            await self._go_through(one, kek_id, total)
        return kek_id

    async def _go_through(self, one: Sealed, kek_id: str, total: int) -> None:
        after = UUID(int=0)
        for _ in range(MAX_BATCHES):
            async with unit_of_work(self.sessions) as session:
                ids = await one.to_rewrap(session, kek_id, after=after, limit=BATCH)
            if not ids:
                break
            for id_ in ids:
                await self._rewrap(one, id_, kek_id)
            after = ids[-1]
            await self.progress(self.done, max(total, self.done))

    async def _rewrap(self, one: Sealed, id_: UUID, kek_id: str) -> None:
        try:
            async with unit_of_work(self.sessions) as session:
                await one.rewrap(session, id_, kek_id)
        except VaultLockedError as error:  # one that does not open must not hold up the others
            log.error("byok.key_not_rewrapped", key_id=str(id_), error_code=error.code, error=error.message)
            self.unopened.add(id_)
            self.first_error = self.first_error or error
        else:
            self.done += 1
