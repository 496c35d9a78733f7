"""A PostgreSQL that a test may stop, freeze and break."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from atom.infra.database_url import parse_database_url
from atom.infra.embedded_postgres import EmbeddedPostgres
from atom.infra.schema import migrate


@pytest.fixture(scope="module")
def own(open_folder: Path) -> Iterator[EmbeddedPostgres]:
    home = open_folder / uuid4().hex[:8]
    home.mkdir(mode=0o711)
    postgres = EmbeddedPostgres(home)
    postgres.start()
    migrate(parse_database_url(postgres.endpoint.url))
    yield postgres
    postgres.stop()
