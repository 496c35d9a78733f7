"""The vault: seals provider keys, opens them for a call, and says when it cannot."""

import asyncio
import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from atom.infra.db import after_commit
from atom.llm.vault import store
from atom.llm.vault.envelope import KeyEncryptionKey, Place, rewrap, seal, unseal
from atom.llm.vault.errors import VaultLockedError
from atom.llm.vault.kek import KekSource

UNCOMMITTED = "vault"  # in a session's info: what was unlocked by a registration of its own transaction
CANARY = Place("canary", "vault", 1)
FINGERPRINT_BYTES = 32
RELOAD_HINT = "Give back the key that was there before, behind the new one: `atom keys rotate` needs both."
log = structlog.get_logger(service="byok")


@dataclass(frozen=True, slots=True)
class Unlocked:
    """The keys at hand by id, the current one first, and what fingerprints are made with."""

    keks: Mapping[str, KeyEncryptionKey]
    current: KeyEncryptionKey
    pepper: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Locked:
    """Why stored keys do not open. `whole`: none of them does."""

    error: VaultLockedError
    whole: bool = True


@dataclass(slots=True)
class Vault:
    """Unlocks itself when it is first needed. It fails closed: nothing is sealed with a key that cannot be checked."""

    source: KekSource
    _open: Unlocked | None = field(default=None, init=False, repr=False)

    async def unlock(self, session: AsyncSession, *, again: bool = False) -> Unlocked:
        """Reads the keys and proves the current one by its canary. `again`: read the source anew.

        Raises VaultLockedError.
        """
        known: Unlocked | None = session.info.get(UNCOMMITTED) or self._open
        if known is not None and not again:
            return known
        self._open = None
        unlocked, registered = await self._unlock(session)
        if registered or UNCOMMITTED in session.info:  # what is rolled back must not be remembered
            session.info[UNCOMMITTED] = unlocked
            after_commit(session, lambda: self._remember(unlocked))
        else:
            self._open = unlocked
        return unlocked

    def _remember(self, unlocked: Unlocked) -> None:
        self._open = unlocked

    async def used(self, session: AsyncSession) -> bool:
        """Whether anything was ever sealed, or the operator brings a key."""
        return self.source.managed is None or bool(await store.registered(session))

    async def check(self, session: AsyncSession) -> Locked | None:
        """For readiness: why stored keys do not open, from the key-encryption keys as they are now."""
        try:
            unlocked = await self.unlock(session, again=True)
        except VaultLockedError as error:
            return Locked(error)
        in_use = await store.in_use(session)
        gone = [kek_id for kek_id in in_use if kek_id not in unlocked.keks]
        return Locked(self._gone(gone[0]), whole=len(gone) == len(in_use)) if gone else None

    async def seal(self, session: AsyncSession, place: Place, secret: str) -> dict[str, Any]:
        """With the key that is current now. Raises VaultLockedError, also where this process's keys are out of date:
        what it sealed would be lost as soon as the key that others have replaced is dropped."""
        unlocked = await self.unlock(session, again=True)
        await store.sealing(session)
        if await self._overtaken(session, unlocked):
            unlocked = await self.unlock(session, again=True)
            newer = await self._overtaken(session, unlocked)
            if newer:
                raise self._gone(newer)
        return await seal(unlocked.current, place, secret.encode())

    async def settle(self, session: AsyncSession) -> None:
        """Waits for those who are sealing. Who begins after this transaction reads the keys as they are then."""
        await store.one_at_a_time(session)

    async def unseal(self, session: AsyncSession, place: Place, envelope: Mapping[str, Any]) -> str:
        """Raises VaultLockedError; EnvelopeError when just this one does not open."""
        return (await unseal(await self._kek_of(session, envelope), place, envelope)).decode()

    async def rewrap(self, session: AsyncSession, place: Place, envelope: Mapping[str, Any]) -> dict[str, Any]:
        """The same secret under the current key-encryption key."""
        old = await self._kek_of(session, envelope)
        return await rewrap(old, (await self.unlock(session)).current, place, envelope)

    async def fingerprint(self, session: AsyncSession, secret: str) -> str:
        """Tells two secrets apart and nothing else: 32 bits of an HMAC under a key that the vault keeps."""
        unlocked = await self.unlock(session)
        return hmac.digest(unlocked.pepper, secret.encode(), hashlib.sha256).hex()[:8]

    async def begin_rotation(self, session: AsyncSession) -> str:
        """Makes a new key where Atom keeps them itself; else takes what the operator put first. Returns its id.

        A rotation that was interrupted goes on with the key it had begun with.
        """
        await store.one_at_a_time(session)
        unlocked = await self.unlock(session, again=True)
        newest = (await store.registered(session))[-1].kek_id
        if self.source.managed and unlocked.current.kek_id == newest and not await self._unfinished(session):
            await asyncio.to_thread(self.source.extend)
            unlocked = await self.unlock(session, again=True)
        return unlocked.current.kek_id

    async def _unfinished(self, session: AsyncSession) -> bool:
        return await store.older_in_use(session, (await self.unlock(session)).current.kek_id)

    async def _kek_of(self, session: AsyncSession, envelope: Mapping[str, Any]) -> KeyEncryptionKey:
        wanted = str(envelope.get("kek_id"))
        unlocked = await self.unlock(session)
        if wanted not in unlocked.keks:  # another replica has rotated: the mounted secret may have it by now
            unlocked = await self.unlock(session, again=True)
        if wanted not in unlocked.keks:
            raise self._gone(wanted)
        return unlocked.keks[wanted]

    def _gone(self, kek_id: str) -> VaultLockedError:
        return VaultLockedError(
            f"A stored key was sealed with {kek_id[:16]!r}, which is not at {self.source.name}.", hint=RELOAD_HINT
        )

    async def _overtaken(self, session: AsyncSession, unlocked: Unlocked) -> str | None:
        """A key that came into use after the one that is current here, and is not at hand."""
        order = [row.kek_id for row in await store.registered(session)]
        later = set(order[order.index(unlocked.current.kek_id) + 1 :]) - set(unlocked.keks)
        return next((kek_id for kek_id in await store.in_use(session) if kek_id in later), None) if later else None

    async def _unlock(self, session: AsyncSession) -> tuple[Unlocked, bool]:
        """What is at hand, and whether this transaction has registered a key."""
        rows = await store.registered(session)
        if not rows:
            await store.one_at_a_time(session)
            rows = await store.registered(session)
        if not rows and self.source.managed and not self.source.managed.exists():
            await asyncio.to_thread(self.source.extend)
            log.info("byok.vault_created", place=str(self.source.managed))
        keks = await asyncio.to_thread(self.source.load)
        by_id = {kek.kek_id: kek for kek in keks}
        if not rows:
            pepper = os.urandom(FINGERPRINT_BYTES)
            await store.register(session, keks[0].kek_id, await seal(keks[0], CANARY, pepper))
            return Unlocked(by_id, keks[0], pepper), True
        known = [row for row in rows if row.kek_id in by_id]
        if not known:
            raise VaultLockedError(
                f"The key at {self.source.name} is not the one that the stored keys were sealed with.",
                hint=RELOAD_HINT,
            )
        pepper = await self._prove(by_id, known)
        registered = keks[0].kek_id not in {row.kek_id for row in rows}
        if registered:
            await store.one_at_a_time(session)
            if keks[0].kek_id not in {row.kek_id for row in await store.registered(session)}:
                await store.register(session, keks[0].kek_id, await seal(keks[0], CANARY, pepper))
        return Unlocked(by_id, keks[0], pepper), registered

    async def _prove(self, keks: Mapping[str, KeyEncryptionKey], rows: Sequence[Any]) -> bytes:
        found = {await unseal(keks[row.kek_id], CANARY, row.canary) for row in rows}
        if len(found) != 1:
            raise VaultLockedError("The vault's own records contradict each other.", hint="Restore vault_kek.")
        return found.pop()
