"""Entries that were written before there was a chain are on it after the upgrade, in the order of their time."""

import uuid

import psycopg
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from atom.governance.audit import store
from atom.governance.audit.anchors import Witness
from atom.governance.audit.verify import Verification
from atom.infra.database_url import libpq
from atom.infra.db import Sessions, unit_of_work
from atom.infra.schema import MIGRATIONS, migrate
from tests.conftest import Cluster
from tests.governance.audit.conftest import open_sessions

ROWS = 30


async def test_rows_of_before_are_chained(cluster: Cluster) -> None:
    url = cluster.create(f"chained_{uuid.uuid4().hex[:12]}")
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "0006")
        connection.commit()
    insert = (
        "INSERT INTO audit_entry (id, at, actor, action, decision, reason, data)"
        " VALUES (gen_random_uuid(), timestamptz '2026-01-31' - %s * interval '1 hour', 'a', 'x', 'd', 'r',"
        " jsonb_build_object('number', %s::int))"
    )
    with psycopg.connect(libpq(url), autocommit=True) as connection_:
        for number in range(ROWS):
            connection_.execute(insert, (number, number))
    migrate(url)
    async with open_sessions(url) as sessions:
        numbers = await verified_numbers(sessions)
    assert numbers == list(range(ROWS))[::-1]
    cluster.drop(str(url.database))


async def verified_numbers(sessions: Sessions) -> list[int]:
    verification = Verification(Witness())
    async with unit_of_work(sessions) as session:
        rows = await store.chain(session, 0, 1000, 1000)
    for row in rows:
        verification.add(row.link)
    assert verification.report().ok
    return [row.row["data"]["number"] for row in rows if row.row]
