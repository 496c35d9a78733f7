"""Which database a command works on: the one DATABASE_URL names, or the embedded one, started for as long as needed."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import structlog
from pydantic import SecretStr
from sqlalchemy import URL

from atom.errors import AtomError
from atom.infra.database_url import parse_database_url
from atom.infra.embedded_postgres import EmbeddedPostgres, is_own_url, read_endpoint
from atom.infra.postgres_errors import HomeInUseError
from atom.settings import Settings

WATCH_SECONDS = 1.0
FAILED_SECONDS = 3.0
log = structlog.get_logger(service="database")


@dataclass(frozen=True, slots=True)
class Database:
    """`direct` is the server itself. `embedded` is None for a server that somebody else runs."""

    url: URL
    direct: URL
    embedded: EmbeddedPostgres | None

    async def watch(self, stop: asyncio.Event) -> None:
        """Bring an embedded server that was killed back, until `stop`."""
        assert self.embedded is not None
        while not stop.is_set():
            wait = WATCH_SECONDS
            try:
                await asyncio.to_thread(self.embedded.ensure_running)
            except AtomError as error:  # a full disk, say: a person may mend it, and it is tried again
                log.error("database.restart_failed", error_code=error.code, reason=error.message)
                wait = FAILED_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), wait)


def check_url(settings: Settings) -> None:
    """Raises DatabaseUrlError, before anything is opened."""
    if settings.database.url is not None:
        external(settings, settings.database.url)


@contextlib.contextmanager
def open_database(settings: Settings, *, share: bool = False) -> Iterator[Database]:
    """From the main thread. `share`: use the embedded server of an Atom that runs on this home already."""
    wanted = settings.database.url
    if wanted is not None and not is_own_url(settings.home, wanted.get_secret_value()):
        yield external(settings, wanted)
        return
    embedded = EmbeddedPostgres(settings.home)
    try:
        embedded.start()
    except HomeInUseError:
        endpoint = read_endpoint(settings.home)
        if not share or endpoint is None:
            raise
        url = parse_database_url(endpoint.url)
        yield Database(url, url, None)
        return
    try:
        url = parse_database_url(embedded.endpoint.url)
        yield Database(url, url, embedded)
    finally:
        embedded.stop()


def external(settings: Settings, wanted: SecretStr) -> Database:
    """Raises DatabaseUrlError."""
    url = parse_database_url(wanted)
    direct = settings.database.direct_url
    return Database(url, parse_database_url(direct, variable="DATABASE_DIRECT_URL") if direct else url, None)
