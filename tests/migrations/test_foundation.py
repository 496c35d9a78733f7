"""The database that the revisions make is the one that the code, the guide and the queue expect."""

import importlib
import pkgutil
import uuid
from collections.abc import Iterator
from importlib import metadata, resources
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, create_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.schema import SchemaItem

import atom
from atom.infra.database_url import libpq
from atom.infra.db import Base
from atom.infra.schema import MIGRATIONS, head, migrate
from tests.conftest import Cluster

WITHOUT_MODELS = {"alembic_version", "idempotency_key", "budget_reservation", "halt", "episode_body"}
GUIDE = {
    "episodes by tier": """SELECT storage_tier, COUNT(*) as episode_count,
        pg_size_pretty(pg_total_relation_size('episode')) as table_size FROM episode GROUP BY storage_tier""",
    "executions by status": """SELECT status, COUNT(*) as count FROM agent_execution
        WHERE started_at > NOW() - INTERVAL '10 minutes' GROUP BY status""",
    "hot episodes": "SELECT COUNT(*) FROM episode WHERE storage_tier = 'hot'",
    "slow agents": """SELECT agent_id, AVG(EXTRACT(EPOCH FROM (ended_at - started_at))) as avg_duration_sec,
        MAX(EXTRACT(EPOCH FROM (ended_at - started_at))) as max_duration_sec, COUNT(*) as executions
        FROM agent_execution WHERE started_at > NOW() - INTERVAL '1 hour'
        GROUP BY agent_id ORDER BY avg_duration_sec DESC LIMIT 10""",
    "failed skills": """SELECT skill_name, error_message, COUNT(*) as failures, MAX(created_at) as last_failure
        FROM skill_execution WHERE status = 'failed' AND created_at > NOW() - INTERVAL '1 hour'
        GROUP BY skill_name, error_message ORDER BY failures DESC LIMIT 20""",
}


@pytest.fixture
def connection(database: URL) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(libpq(database), autocommit=True) as found:
        yield found


def query(connection: psycopg.Connection[Any], statement: str) -> list[tuple[Any, ...]]:
    return list(connection.execute(statement.encode()).fetchall())


def import_models() -> None:
    """Every table of the code, those of domains that come later too."""
    for module in pkgutil.walk_packages(atom.__path__, "atom."):
        if module.name.rpartition(".")[2] in {"models", "tables"}:
            importlib.import_module(module.name)


def ours(item: SchemaItem, name: str | None, kind: str, reflected: bool, other: SchemaItem | None) -> bool:
    """Tables and columns. Indexes, checks and references live in the revisions' SQL alone; the queue is not ours."""
    if kind == "table":
        return not (reflected and (name in WITHOUT_MODELS or str(name).startswith("procrastinate_")))
    return kind == "column"


def test_models_are_the_database(database: URL) -> None:
    import_models()
    engine = create_engine(database, poolclass=NullPool)
    with engine.connect() as connection:
        options = {"include_object": ours, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_tables_without_a_model_are_known(connection: psycopg.Connection[Any]) -> None:
    """A new table gets a model, or a reason to stand here."""
    import_models()
    found = {name for (name,) in query(connection, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    beside = {name for name in found - set(Base.metadata.tables) if not name.startswith("procrastinate_")}
    assert beside <= WITHOUT_MODELS


@pytest.mark.parametrize("row", GUIDE)
def test_statement_of_the_guide_runs_as_written(connection: psycopg.Connection[Any], row: str) -> None:
    assert isinstance(query(connection, GUIDE[row]), list)


def test_tables_and_columns_of_the_contract_exist(connection: psycopg.Connection[Any]) -> None:
    found = {
        (table, column): kind
        for table, column, kind in query(
            connection, "SELECT table_name, column_name, data_type FROM information_schema.columns"
        )
    }
    time = "timestamp with time zone"
    for column, kind in (("agent_id", "uuid"), ("status", "text"), ("started_at", time), ("ended_at", time)):
        assert found[("agent_execution", column)] == kind
    assert found[("episode", "storage_tier")] == "text"
    for column, kind in (("skill_name", "text"), ("error_message", "text"), ("status", "text"), ("created_at", time)):
        assert found[("skill_execution", column)] == kind
    naive = [place for place, kind in found.items() if kind == "timestamp without time zone" and "agent" in place[0]]
    assert naive == []


def test_index_of_the_guide_exists_by_its_name_and_serves_its_query(connection: psycopg.Connection[Any]) -> None:
    [(definition,)] = query(
        connection, "SELECT indexdef FROM pg_indexes WHERE indexname = 'idx_agent_execution_started_at'"
    )
    assert "agent_execution" in definition
    assert "(started_at)" in definition
    connection.execute("CREATE INDEX IF NOT EXISTS idx_agent_execution_started_at ON agent_execution (started_at)")
    connection.execute("SET enable_seqscan = off")
    plan = query(connection, "EXPLAIN SELECT 1 FROM agent_execution WHERE started_at > now() - interval '1 hour'")
    assert "idx_agent_execution_started_at" in str(plan)


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_entry SET actor = 'x'", "DELETE FROM audit_entry", "TRUNCATE audit_entry"]
)
def test_audit_only_grows(connection: psycopg.Connection[Any], statement: str) -> None:
    connection.execute(
        "INSERT INTO audit_entry (id, actor, action, decision, reason) VALUES (%s, 'a', 'read_file', 'allow', 'r')",
        (uuid.uuid4(),),
    )
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        connection.execute(statement.encode())
    assert query(connection, "SELECT actor FROM audit_entry") == [("a",)]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO app_user (id, name, role) VALUES (gen_random_uuid(), 'x', 'god')",
        "INSERT INTO job (id, kind, status, created_by) VALUES (gen_random_uuid(), 'k', 'sleeping', 'a')",
        """INSERT INTO skill_execution
        (id, skill_name, version_id, digest, purpose, actor, script, arguments, input, status)
        VALUES (gen_random_uuid(), 'x', gen_random_uuid(), '', 'run', '', '', '{}', '', 'maybe')""",
    ],
)
def test_unknown_word_for_a_state_is_refused(connection: psycopg.Connection[Any], statement: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(statement.encode())


def test_names_of_agents_and_users_differ_by_more_than_case(connection: psycopg.Connection[Any]) -> None:
    insert = "INSERT INTO app_user (id, name, role) VALUES (gen_random_uuid(), %s, 'viewer')"
    connection.execute(insert, ("Ann",))
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute(insert, ("ann",))


def shape(url: URL) -> set[tuple[Any, ...]]:
    """Everything in the database's public schema, by kind and name."""
    with psycopg.connect(libpq(url), autocommit=True) as connection:
        return set(
            query(
                connection,
                "SELECT 'relation', relname, relkind::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
                " AND relname NOT LIKE 'alembic_version%'"
                " UNION ALL SELECT 'function', proname, '' FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
                " UNION ALL SELECT 'type', typname, '' FROM pg_type WHERE typnamespace = 'public'::regnamespace"
                " AND typname NOT LIKE '%alembic_version'"
                " UNION ALL SELECT 'trigger', tgname, '' FROM pg_trigger WHERE NOT tgisinternal",
            )
        )


def test_way_back_leaves_nothing_and_the_way_up_is_the_same_again(cluster: Cluster) -> None:
    url = cluster.create(f"back_{uuid.uuid4().hex[:12]}")
    before = shape(url)
    migrate(url)
    full = shape(url)
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        connection.commit()
    assert shape(url) == before
    assert migrate(url).after == head()
    assert shape(url) == full
    cluster.drop(str(url.database))


def test_queue_schema_is_the_installed_librarys() -> None:
    """A newer Procrastinate brings its own migration: it becomes a revision here, with its text under its version."""
    version = metadata.version("procrastinate")
    stored = sorted((MIGRATIONS / "sql").glob("procrastinate-*.sql"))
    installed = (resources.files("procrastinate") / "sql" / "schema.sql").read_text("utf-8")
    assert stored[-1].name == f"procrastinate-{version}.sql"
    assert stored[-1].read_text("utf-8") == installed
