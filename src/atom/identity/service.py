"""API keys: made, checked, listed, revoked."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.events.models import EventType
from atom.events.service import Outbox
from atom.identity import store, tokens
from atom.identity.errors import (
    CredentialInvalidError,
    LastAdminError,
    RoleTooWideError,
    TokenInvalidError,
    TokenNotFoundError,
)
from atom.identity.models import GRANTS, ApiKey, Principal, Role
from atom.infra.db import Sessions, unit_of_work
from atom.kit.clock import Clock
from atom.kit.ids import new_id

TOUCH_EVERY = timedelta(minutes=1)  # `last_used_at` is for people: one write a minute is enough
MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class Issued:
    """A new key and, this once, its text."""

    key: ApiKey
    token: str


@dataclass(frozen=True, slots=True)
class IdentityService:
    outbox: Outbox
    clock: Clock

    async def authenticate(self, session: AsyncSession, text: str) -> Principal:
        """Raises CredentialInvalidError. Presence is never success: the secret's hash is compared."""
        parsed = tokens.parse(text)
        if parsed is None:
            raise CredentialInvalidError
        key_id, secret = parsed
        key = await store.live_key(session, key_id)
        if key is None or not hmac.compare_digest(key.secret_hash, tokens.hash_secret(secret)):
            raise CredentialInvalidError
        now = self.clock.now()
        if key.last_used_at is None or now - key.last_used_at > TOUCH_EVERY:
            await store.touch(session, key.id, now)
        return Principal(key.id, key.name, Role(key.role))

    async def issue(
        self, session: AsyncSession, by: Principal, name: str, *, role: Role, expires_days: int | None
    ) -> Issued:
        """Raises RoleTooWideError when the new key could do what its maker may not."""
        if not GRANTS[role] <= GRANTS[by.role]:
            raise RoleTooWideError(f"A key with the role {role.value} can do more than yours.", hint="Ask an admin.")
        return await self._issue(session, by.actor, name, role=role, expires_days=expires_days)

    async def page(self, session: AsyncSession, *, before: UUID | None, limit: int) -> Sequence[ApiKey]:
        return await store.page(session, before=before, limit=limit)

    async def revoke(self, session: AsyncSession, by: Principal, id_: UUID) -> None:
        """Raises TokenNotFoundError, LastAdminError."""
        key = await store.get_key(session, id_)
        if key is None:
            raise TokenNotFoundError(str(id_))
        if key.role == Role.ADMIN:
            await store.lock_admin(session)
            if key.revoked_at is None and not await store.other_admin(session, id_):
                raise LastAdminError
        if await store.revoke(session, id_):
            data = {"key_id": str(id_), "name": key.name}
            await self.outbox.emit(session, EventType.TOKEN_REVOKED, actor=by.actor, data=data)

    async def _issue(
        self, session: AsyncSession, actor: str, name: str, *, role: Role, expires_days: int | None
    ) -> Issued:
        name = name.strip()
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise TokenInvalidError(f"name: 1 to {MAX_NAME} printable characters.", field="name")
        token = tokens.generate()
        id_ = new_id()
        values = {"id": id_, "key_id": token.key_id, "secret_hash": token.secret_hash, "name": name, "role": role.value}
        await store.add_key(session, values | {"created_by": actor, "expires_at": self._expiry(expires_days)})
        await self.outbox.emit(
            session, EventType.TOKEN_CREATED, actor=actor, data={"key_id": str(id_), "name": name, "role": role.value}
        )
        key = await store.get_key(session, id_)
        assert key is not None
        return Issued(key, token.text)

    def _expiry(self, days: int | None) -> datetime | None:
        return None if days is None else self.clock.now() + timedelta(days=days)

    async def first_admin(self, session: AsyncSession) -> Issued | None:
        """The first key of an empty deployment; None when there is any key already."""
        await store.lock_admin(session)
        if await store.any_key(session):
            return None
        return await self._issue(session, "system:first-start", "admin", role=Role.ADMIN, expires_days=None)


async def authenticate(identity: IdentityService, sessions: Sessions, text: str) -> Principal:
    """In a transaction of its own, so that no connection is held while the request is served."""
    async with unit_of_work(sessions) as session:
        return await identity.authenticate(session, text)
