"""A superuser who takes the triggers away and changes rows: what was done is told, and where.

The sample takes some trials of each kind. `AUDIT_TRIALS=100` is the full volume, which `make campaign` takes.
"""

import os
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from atom.governance.audit import store
from atom.governance.audit.anchors import ANCHOR, Anchor, Witness, key_id, witness
from atom.governance.audit.findings import Finding, Kind, Report
from atom.infra.db import Sessions, unit_of_work
from atom.kit.clock import FrozenClock
from tests.governance.audit.conftest import END, verified, write

TRIALS = int(os.environ.get("AUDIT_TRIALS", "10"))
ROWS = 150
EVERY = 25  # rows between anchors
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OPEN = (
    "ALTER TABLE audit_entry DISABLE TRIGGER USER",
    "ALTER TABLE audit_link DISABLE TRIGGER USER",
    "ALTER TABLE audit_link DROP CONSTRAINT audit_link_pkey",
)
SEAL = r"""sha256(l.prev_hash || convert_to(audit_body(e) || ',"seq"\:' || l.seq || ',"v"\:1}', 'UTF8'))"""
NEW_ENTRY = (
    "INSERT INTO audit_entry (id, at, actor, action, decision, reason, data)"
    " SELECT gen_random_uuid(), at, 'admin:boss', 'delete_file', 'allow', reason, data FROM audit_entry e"
    " JOIN audit_link l ON l.entry_id = e.id WHERE l.seq = :at RETURNING id"
)


@dataclass(frozen=True, slots=True)
class Attack:
    """What was done, and the rows that must be named: `seq` to `until`."""

    kind: Kind
    seq: int
    until: int

    def seen_in(self, report: Report) -> bool:
        return any(one.kind is self.kind and one.seq <= self.seq and one.until >= self.until for one in report.findings)


@dataclass(frozen=True, slots=True)
class Tamperer:
    session: AsyncSession
    chance: random.Random

    async def do(self, statement: str, **fields: Any) -> Any:
        return await self.session.execute(text(statement), fields)

    def place(self, room: int = 1) -> int:
        return self.chance.randint(1, ROWS - room)

    async def rehash(self, first: int, last: int = ROWS) -> None:
        """As good as it gets: hashes that fit, computed with the database's own functions."""
        for seq in range(first, last + 1):
            await self.do(
                "UPDATE audit_link SET prev_hash = coalesce((SELECT hash FROM audit_link WHERE seq = :seq - 1),"
                " decode(repeat('00', 32), 'hex')) WHERE seq = :seq",
                seq=seq,
            )
            await self.do(
                f"UPDATE audit_link l SET hash = {SEAL} FROM audit_entry e WHERE e.id = l.entry_id AND l.seq = :seq",
                seq=seq,
            )

    async def shift(self, behind: int, by: int) -> None:
        await self.do("UPDATE audit_link SET seq = seq + :by WHERE seq > :behind", by=by, behind=behind)


async def edit(by: Tamperer) -> Attack:
    at = by.place()
    entry = "WHERE id = (SELECT entry_id FROM audit_link WHERE seq = :at)"
    way = by.chance.randrange(7)
    if way < 4:
        change = (
            "decision = 'deny'",
            "at = 'infinity'",
            "data = data || '{\"number\": 0.5}'",
            "id = gen_random_uuid()",
        )
        await by.do(f"UPDATE audit_entry SET {change[way]} {entry}", at=at)
    elif way == 4:
        await by.do("UPDATE audit_link SET hash = sha256(hash) WHERE seq = :at", at=at)
    elif way == 5:
        await by.do("UPDATE audit_link SET prev_hash = sha256(hash) WHERE seq = :at", at=at)
    else:
        await by.do(f"UPDATE audit_entry SET actor = 'nobody' {entry}", at=at)
        await by.rehash(at, at)
    return Attack(Kind.EDITED, at, at)


async def delete(by: Tamperer) -> Attack:
    count = by.chance.randint(1, 3)
    at, way = by.place(count), by.chance.randrange(4)
    fields = {"a": at, "b": at + count - 1}
    where = "WHERE seq BETWEEN :a AND :b"
    if way != 1:
        await by.do(f"DELETE FROM audit_entry WHERE id IN (SELECT entry_id FROM audit_link {where})", **fields)
    if way != 0:
        await by.do(f"DELETE FROM audit_link {where}", **fields)
    if way == 3:
        await by.shift(at + count - 1, -count)
    return Attack(Kind.DELETED, at, at if way == 0 else at + count - 1)


async def insert(by: Tamperer) -> Attack:
    at, way = by.place(), by.chance.randrange(3)
    id_ = (await by.do(NEW_ENTRY, at=at)).scalar_one()
    if way == 0:
        return Attack(Kind.INSERTED, ROWS, ROWS)
    await by.shift(at, 1)
    await by.do(
        "INSERT INTO audit_link SELECT :seq, :id, hash, sha256(hash) FROM audit_link WHERE seq = :at",
        seq=at + 1, id=id_, at=at,
    )  # fmt: skip
    if way == 2:
        await by.rehash(at + 1, at + 1)
    return Attack(Kind.INSERTED, at + 1, at + 1)


async def reorder(by: Tamperer) -> Attack:
    one, other = sorted(by.chance.sample(range(1, ROWS + 1), 2))
    if by.chance.random() < 0.3:
        other = one + 1 if one < ROWS else one - 1
    swapped = "CASE seq WHEN :one THEN CAST(:other AS bigint) ELSE :one END"
    if by.chance.random() < 0.5:
        await by.do(f"UPDATE audit_link SET seq = {swapped} WHERE seq IN (:one, :other)", one=one, other=other)
    else:
        await by.do("ALTER TABLE audit_link DROP CONSTRAINT audit_link_entry_id_key")
        await by.do(
            "UPDATE audit_link l SET entry_id = o.entry_id FROM audit_link o"
            " WHERE (l.seq = :one AND o.seq = :other) OR (l.seq = :other AND o.seq = :one)",
            one=one, other=other,
        )  # fmt: skip
    return Attack(Kind.REORDERED, min(one, other), min(one, other))


async def truncate(by: Tamperer) -> Attack:
    """Back to before the newest anchor, at the least."""
    keep = by.chance.randint(0, ROWS - 1)
    await by.do("DELETE FROM audit_entry WHERE id IN (SELECT entry_id FROM audit_link WHERE seq > :keep)", keep=keep)
    await by.do("DELETE FROM audit_link WHERE seq > :keep", keep=keep)
    return Attack(Kind.TRUNCATED, keep + 1, ROWS)


async def rewrite(by: Tamperer) -> Attack:
    first = by.place()
    await by.do(
        "UPDATE audit_entry SET actor = 'nobody' WHERE id = (SELECT entry_id FROM audit_link WHERE seq = :at)", at=first
    )
    await by.rehash(first)
    anchored = -(-first // EVERY) * EVERY
    return Attack(Kind.REWRITTEN, anchored, anchored)


ATTACKS: list[Callable[[Tamperer], Awaitable[Attack]]] = [edit, delete, insert, reorder, truncate, rewrite]


@pytest_asyncio.fixture
async def anchored(sessions: Sessions) -> Witness:
    await write(sessions, ROWS)
    async with unit_of_work(sessions) as session:
        rows = await store.chain(session, 0, END, ROWS)
    anchors = [Anchor(ANCHOR, FrozenClock().now(), row.seq, row.hash.hex()) for row in rows if row.seq % EVERY == 0]
    return witness([one.signed(KEY).line() for one in anchors], {key_id(KEY.public_key()): KEY.public_key()})


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.__name__)
async def test_tampering_is_told(
    superuser: Sessions, anchored: Witness, attack: Callable[[Tamperer], Awaitable[Attack]]
) -> None:
    for number in range(TRIALS):
        async with superuser() as session:
            for statement in OPEN:
                await session.execute(text(statement))
            done = await attack(Tamperer(session, random.Random(f"{attack.__name__} {number}")))
            report = await verified(session, anchored)
            await session.rollback()
        assert done.seen_in(report), (number, done, report.findings)
        wrong = [one for one in report.findings if one.kind is not done.kind]
        assert not wrong, (number, done, report.findings)
    async with unit_of_work(superuser) as session:
        report = await verified(session, anchored)
    assert (report.findings, report.rows, report.anchors) == ((), ROWS, ROWS // EVERY)


async def test_without_anchors_a_cut_tail_is_not_seen_and_the_report_says_so(
    superuser: Sessions, anchored: Witness
) -> None:
    async with superuser() as session:
        for statement in OPEN:
            await session.execute(text(statement))
        await truncate(Tamperer(session, random.Random(1)))
        report = await verified(session, witness([], {}))
        assert report.ok
        assert any("no anchor" in note for note in report.notes)


def test_a_finding_names_the_row() -> None:
    assert Finding(3, Kind.EDITED, 3, "x").plain() == {"kind": "edited", "seq": 3, "until": 3, "detail": "x"}
