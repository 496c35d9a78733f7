"""Keys are made within their maker's rights, kept as hashes, and gone when they are revoked or have run out."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import URL, func, select, text, update

from atom.errors import AtomError
from atom.events.service import Outbox, Signal
from atom.identity import tokens
from atom.identity.errors import (
    CredentialInvalidError,
    LastAdminError,
    RoleTooWideError,
    TokenInvalidError,
    TokenNotFoundError,
)
from atom.identity.models import GRANTS, ApiKey, Principal, Role
from atom.identity.service import TOUCH_EVERY, IdentityService, Issued, authenticate
from atom.infra.database_url import libpq
from atom.infra.db import Sessions, unit_of_work
from atom.kit.clock import FrozenClock, SystemClock


@pytest.fixture
def identity() -> IdentityService:
    return IdentityService(Outbox(Signal()), SystemClock())


def principal(role: Role) -> Principal:
    return Principal(uuid4(), f"a {role}", role)


async def issue(
    identity: IdentityService,
    sessions: Sessions,
    role: Role = Role.VIEWER,
    by: Role = Role.ADMIN,
    *,
    days: int | None = None,
) -> Issued:
    async with unit_of_work(sessions) as session:
        return await identity.issue(session, principal(by), "a key", role=role, expires_days=days)


@pytest.mark.parametrize("maker", list(Role))
@pytest.mark.parametrize("role", list(Role))
async def test_a_new_key_can_do_nothing_that_its_maker_may_not(
    identity: IdentityService, sessions: Sessions, maker: Role, role: Role
) -> None:
    if GRANTS[role] <= GRANTS[maker]:
        made = await issue(identity, sessions, role, maker)
        assert (await authenticate(identity, sessions, made.token)).role is role
        return
    with pytest.raises(RoleTooWideError):
        await issue(identity, sessions, role, maker)
    async with unit_of_work(sessions) as session:
        assert await identity.page(session, before=None, limit=10) == []


async def test_only_hashes_are_kept(identity: IdentityService, sessions: Sessions, database: URL) -> None:
    made = await issue(identity, sessions)
    secret = made.token.split("_")[3]
    with psycopg.connect(libpq(database)) as connection:
        tables = connection.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        for (table,) in tables.fetchall():
            rows = connection.execute(f'SELECT row_to_json(t)::text FROM "{table}" AS t').fetchall()
            assert not any(secret in row[0] or made.token in row[0] for row in rows), table
        row = connection.execute("SELECT secret_hash, key_id FROM api_key").fetchone()
    assert row == (tokens.hash_secret(secret), made.token.split("_")[2])


async def refused(identity: IdentityService, sessions: Sessions, token: str) -> bool:
    try:
        await authenticate(identity, sessions, token)
    except CredentialInvalidError:
        return True
    return False


async def test_a_key_ends_by_the_databases_clock(identity: IdentityService, sessions: Sessions) -> None:
    """A process whose own clock is wrong neither opens a key that has run out nor closes one that has not."""
    made = await issue(identity, sessions, days=1)
    late = IdentityService(identity.outbox, FrozenClock(SystemClock().now() + timedelta(days=300)))
    assert not await refused(late, sessions, made.token)
    async with unit_of_work(sessions) as session:
        await session.execute(update(ApiKey).values(expires_at=func.now() - timedelta(milliseconds=1)))
    early = IdentityService(identity.outbox, FrozenClock(SystemClock().now() - timedelta(days=300)))
    assert await refused(early, sessions, made.token)


async def test_a_revoked_key_is_revoked_once_and_stays_in_the_list(
    identity: IdentityService, sessions: Sessions
) -> None:
    made = await issue(identity, sessions)
    admin = principal(Role.ADMIN)
    for _ in range(2):
        async with unit_of_work(sessions) as session:
            await identity.revoke(session, admin, made.key.id)
        assert await refused(identity, sessions, made.token)
    async with unit_of_work(sessions) as session:
        listed = await identity.page(session, before=None, limit=10)
        told = await session.execute(text("SELECT type, actor, data->>'key_id' FROM event ORDER BY id"))
    assert [(key.id, key.revoked_at is not None) for key in listed] == [(made.key.id, True)]
    assert [tuple(row) for row in told] == [
        ("token.created", "admin:a admin", str(made.key.id)),
        ("token.revoked", "admin:a admin", str(made.key.id)),
    ]


async def test_the_last_admin_key_that_works_cannot_be_revoked(identity: IdentityService, sessions: Sessions) -> None:
    """Not by two people at once either, each of whom would leave the other's."""
    made = [await issue(identity, sessions, Role.ADMIN) for _ in range(2)]
    gone = await issue(identity, sessions, Role.ADMIN, days=1)
    async with unit_of_work(sessions) as session:
        ended = func.now() - timedelta(milliseconds=1)
        await session.execute(update(ApiKey).where(ApiKey.id == gone.key.id).values(expires_at=ended))

    async def revoke(one: Issued) -> bool:
        try:
            async with unit_of_work(sessions) as session:
                await identity.revoke(session, principal(Role.ADMIN), one.key.id)
        except LastAdminError:
            return False
        return True

    assert sorted(await asyncio.gather(*map(revoke, made))) == [False, True]
    assert [await refused(identity, sessions, one.token) for one in made].count(False) == 1


async def test_revoking_what_is_not_there_is_told(identity: IdentityService, sessions: Sessions) -> None:
    with pytest.raises(TokenNotFoundError):
        async with unit_of_work(sessions) as session:
            await identity.revoke(session, principal(Role.ADMIN), UUID("01a20a0d-8e88-7117-9c08-46edfd98777f"))


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\x00b", "a\nb", "a\x1b[31m", "\u202e", "\ud800"])
async def test_a_name_is_something_a_person_can_read(identity: IdentityService, sessions: Sessions, name: str) -> None:
    with pytest.raises(TokenInvalidError) as refused:
        async with unit_of_work(sessions) as session:
            await identity.issue(session, principal(Role.ADMIN), name, role=Role.VIEWER, expires_days=None)
    assert refused.value.details["field"] == "name"
    assert isinstance(refused.value, AtomError)


async def test_the_last_use_is_noted_once_a_minute(sessions: Sessions) -> None:
    clock = FrozenClock(SystemClock().now())
    identity = IdentityService(Outbox(Signal()), clock)
    made = await issue(identity, sessions)

    async def last_used() -> object:
        await authenticate(identity, sessions, made.token)
        async with unit_of_work(sessions) as session:
            return await session.scalar(select(ApiKey.last_used_at))

    first = await last_used()
    clock.advance(TOUCH_EVERY.total_seconds())
    assert await last_used() == first
    clock.advance(1)
    assert await last_used() == clock.now()


async def test_many_callers_with_one_key_do_not_wait_for_each_other(
    identity: IdentityService, sessions: Sessions
) -> None:
    made = await issue(identity, sessions)
    found = await asyncio.gather(*(authenticate(identity, sessions, made.token) for _ in range(30)))
    assert {one.key_id for one in found} == {made.key.id}
