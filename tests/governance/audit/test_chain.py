"""The chain in the database: written with the change, without gaps, and by nobody else."""

import asyncio
import random

import psycopg
import pytest
from sqlalchemy import URL, text
from sqlalchemy.exc import DBAPIError

from atom.governance import store as entries
from atom.governance.audit import store
from atom.infra.database_url import libpq
from atom.infra.db import Sessions, unit_of_work
from tests.governance.audit.conftest import END, values, verified, write

WRITERS = 64


async def test_a_link_is_there_with_the_commit_of_its_entry_and_not_before(sessions: Sessions) -> None:
    async with unit_of_work(sessions) as session:
        await entries.audit(session, values(1))
        await entries.audit(session, values(2))
        assert await store.head(session) is None  # nobody waits for this transaction yet
    async with unit_of_work(sessions) as session:
        rows = await store.chain(session, 0, END, 10)
        assert [row.seq for row in rows] == [1, 2]
        assert [row.row["data"]["number"] for row in rows if row.row] == [1, 2]
        assert (await verified(session)).ok


async def test_what_is_rolled_back_takes_no_number(sessions: Sessions) -> None:
    await write(sessions, 2)

    for chained in (False, True):  # before the trigger has run, and after it
        async with sessions() as session:
            await entries.audit(session, values(3))
            if chained:
                await session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
            head = await store.head(session)
            await session.rollback()
        assert (head.seq if head else 0) == (3 if chained else 2)
    await write(sessions, 1, start=4)
    async with unit_of_work(sessions) as session:
        assert [row.seq for row in await store.chain(session, 0, END, 10)] == [1, 2, 3]
        assert (await verified(session)).ok


async def test_64_writers_that_give_up_now_and_then_leave_no_gap(database: URL, sessions: Sessions) -> None:
    chance, done = random.Random(7), [0]
    insert = (
        "INSERT INTO audit_entry (id, actor, action, decision, reason, data)"
        " VALUES (gen_random_uuid(), 'agent:a', 'x', 'allow', 'r', jsonb_build_object('writer', %s::int))"
    )

    async def writer(number: int) -> None:
        async with await psycopg.AsyncConnection.connect(libpq(database)) as connection:
            for _ in range(8):
                for _ in range(chance.randint(1, 3)):
                    await connection.execute(insert, (number,))
                    done[0] += 1
                if chance.random() < 0.3:
                    if chance.random() < 0.5:
                        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")  # it has its number, and gives it up
                    await connection.rollback()
                    continue
                await connection.commit()

    await asyncio.gather(*(writer(number) for number in range(WRITERS)))
    async with unit_of_work(sessions) as session:
        report = await verified(session)
        counted = await session.execute(text("SELECT count(*), max(seq), count(DISTINCT seq) FROM audit_link"))
    assert tuple(counted.one()) == (report.rows,) * 3
    assert (report.ok, report.first) == (True, 1), report.findings
    assert 0 < report.rows < done[0]


async def test_a_writer_holds_nobody_up_until_it_commits(database: URL, sessions: Sessions) -> None:
    """The lock is taken by the commit: a step that takes its time does not stop the deployment."""
    async with await psycopg.AsyncConnection.connect(libpq(database)) as slow:
        await slow.execute(
            "INSERT INTO audit_entry (id, actor, action, decision, reason)"
            " VALUES (gen_random_uuid(), 'a', 'x', 'd', 'r')"
        )
        async with asyncio.timeout(5):
            await write(sessions, 3)
        await slow.commit()
    async with unit_of_work(sessions) as session:
        rows = await store.chain(session, 0, END, 10)
    assert [row.row["action"] for row in rows if row.row] == ["write_file"] * 3 + ["x"]  # in the order of commits


CHANGES = [
    f"{verb} {table}{rest}"
    for table, column in (("audit_entry", "decision"), ("audit_link", "seq"))
    for verb, rest in (
        ("UPDATE", f" SET {column} = {column}"),
        ("DELETE FROM", ""),
        ("TRUNCATE", ""),
    )
]
ADDED = "INSERT INTO audit_link SELECT seq + 1, gen_random_uuid(), hash, hash FROM audit_link ORDER BY seq DESC LIMIT 1"


@pytest.mark.parametrize("change", [*CHANGES, ADDED])
@pytest.mark.parametrize("replica", [False, True])
async def test_nobody_changes_what_is_written(
    sessions: Sessions, superuser: Sessions, change: str, replica: bool
) -> None:
    """Neither the owner nor a superuser, also not as a replica, as long as the triggers stand."""
    await write(sessions, 2)
    for who in (superuser,) if replica else (sessions, superuser):
        async with who() as session:
            if replica:
                await session.execute(text("SET LOCAL session_replication_role = replica"))
            with pytest.raises(DBAPIError, match="append-only"):
                await session.execute(text(change))
    async with unit_of_work(sessions) as session:
        report = await verified(session)
    assert (report.ok, report.rows) == (True, 2)
