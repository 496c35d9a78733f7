"""SQL of the key-encryption keys' register."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from atom.llm.vault.models import VaultKek

VAULT_LOCK = 0x41544F4D_0005
LOCK = text("SELECT pg_advisory_xact_lock(:lock)")
SHARED = text("SELECT pg_advisory_xact_lock_shared(:lock)")
# Every table that keeps envelopes: a key-encryption key is in use while one of them names it.
IN_USE = text(
    "SELECT kek_id FROM vault_kek k WHERE EXISTS"
    " (SELECT 1 FROM vault_use u WHERE u.kek_id = k.kek_id) ORDER BY created_at, kek_id"
)
OLDER = text("SELECT EXISTS (SELECT 1 FROM vault_use WHERE kek_id <> :kek_id)")


async def one_at_a_time(session: AsyncSession) -> None:
    """The register changes in one transaction at a time."""
    await session.execute(LOCK, {"lock": VAULT_LOCK})


async def sealing(session: AsyncSession) -> None:
    """To the end of this transaction: whoever wants the register alone waits for it."""
    await session.execute(SHARED, {"lock": VAULT_LOCK})


async def in_use(session: AsyncSession) -> Sequence[str]:
    """The key-encryption keys that a stored key is wrapped by, oldest first."""
    return list((await session.scalars(IN_USE)).all())


async def registered(session: AsyncSession) -> Sequence[VaultKek]:
    """Oldest first. Not behind a lock: rows are only ever added."""
    return (await session.scalars(select(VaultKek).order_by(VaultKek.created_at, VaultKek.kek_id).limit(1000))).all()


async def register(session: AsyncSession, kek_id: str, canary: dict[str, Any]) -> None:
    await session.execute(insert(VaultKek).values(kek_id=kek_id, canary=canary, created_at=func.clock_timestamp()))


async def older_in_use(session: AsyncSession, kek_id: str) -> bool:
    """Whether a stored key is still wrapped by another key-encryption key."""
    found = await session.scalar(OLDER, {"kek_id": kek_id})
    return bool(found)
