"""One real PostgreSQL for the whole run; every test that needs a database gets an empty one made from a template."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings
from prometheus_client import CollectorRegistry
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import URL

from atom.infra.database_url import parse_database_url
from atom.infra.db import Sessions, create_engine, create_sessions
from atom.infra.embedded_postgres import EmbeddedPostgres
from atom.infra.metrics import DatabaseMetrics
from atom.infra.outage import database_outage
from atom.infra.schema import migrate
from atom.settings import DatabaseSettings
from tests.support.departures import DATABASE, departs
from tests.support.processes import roomy_folder
from tests.support.s3_server import s3_endpoint

__all__ = ["s3_endpoint"]

settings.register_profile("sample", max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile(
    "campaign", max_examples=5_000, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "sample"))

TEMPLATE = "atom_template"


@dataclass(frozen=True, slots=True)
class Cluster:
    """The server of this test run and how to make databases on it."""

    postgres: EmbeddedPostgres

    def admin(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.postgres.endpoint.admin_url.get_secret_value(), autocommit=True)

    def url(self, database: str) -> URL:
        return parse_database_url(self.postgres.endpoint.url).set(database=database)

    def create(self, name: str, template: str | None = None) -> URL:
        with self.admin() as connection:
            source = sql.SQL("TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER atom {}").format(sql.Identifier(name), source))
        return self.url(name)

    def on(self, database: URL) -> psycopg.Connection[Any]:
        """The superuser in that database."""
        url = parse_database_url(self.postgres.endpoint.admin_url).set(
            database=database.database, drivername="postgresql"
        )
        return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)

    def drop(self, name: str) -> None:
        admin = parse_database_url(self.postgres.endpoint.admin_url).set(database=name, drivername="postgresql")
        departs(DATABASE, admin.render_as_string(hide_password=False))
        with self.admin() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the person who runs the tests decides anything."""
    for name in list(os.environ):
        if name.startswith(("ATOM_", "OPENAI_", "ANTHROPIC_")) or name in {"DATABASE_URL", "REDIS_URL", "LLM_PROVIDER"}:
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder whose parents an unprivileged account may traverse, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="atom-tests-", dir=roomy_folder()))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(open_folder: Path) -> Iterator[Cluster]:
    home = open_folder / "cluster"
    home.mkdir(mode=0o711)
    postgres = EmbeddedPostgres(home)
    postgres.start()
    found = Cluster(postgres)
    template = found.create(TEMPLATE)
    migrate(template)
    with found.on(template) as admin:  # as the provisioning of an embedded database does: its owner may not
        admin.execute("CREATE EXTENSION IF NOT EXISTS vector")
    yield found
    postgres.stop()


@pytest.fixture
def database(cluster: Cluster) -> Iterator[URL]:
    """A migrated database of this test alone."""
    name = f"test_{uuid4().hex[:12]}"
    yield cluster.create(name, TEMPLATE)
    cluster.drop(name)


@pytest_asyncio.fixture
async def sessions(database: URL) -> AsyncIterator[Sessions]:
    engine = create_engine(database, DatabaseSettings(pool_size=5, max_overflow=0, pool_timeout=2))
    yield create_sessions(engine, database_outage(), DatabaseMetrics(CollectorRegistry()))
    await engine.dispose()


@pytest.fixture
def home(open_folder: Path) -> Path:
    folder = open_folder / uuid4().hex[:8]
    folder.mkdir(mode=0o711)
    return folder


@pytest.fixture
def database_secret(database: URL) -> SecretStr:
    return SecretStr(database.set(drivername="postgresql").render_as_string(hide_password=False))
