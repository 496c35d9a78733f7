"""LISTEN for what other processes say. A missed notification only costs the poll that stands behind it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psycopg
import structlog
from psycopg import sql

from atom.infra.db import KEEPALIVE

RETRY_SECONDS = 1.0
CHECK_SECONDS = 30.0  # a half-open connection is found by a statement of our own, not by waiting for ever
log = structlog.get_logger(service="database")


@dataclass(frozen=True, slots=True)
class Listener:
    """`conninfo` reaches the server itself, not a pooler. `handlers` get the payload, quickly, on the event loop."""

    conninfo: str
    handlers: Mapping[str, Callable[[str], None]]

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, through any outage. An error of a handler is raised."""
        listening = asyncio.create_task(self._keep_listening())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({listening, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (listening, stopping):
                task.cancel()
            await asyncio.wait({listening, stopping})
        if not listening.cancelled():
            listening.result()

    async def _keep_listening(self) -> None:
        while True:  # cancelled by `run`
            try:
                await self._listen()
            except (psycopg.Error, OSError, TimeoutError) as error:
                log.debug("database.listen_lost", error_type=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        connection = await psycopg.AsyncConnection.connect(
            self.conninfo, autocommit=True, connect_timeout=5, application_name="atom-listen", **KEEPALIVE
        )
        async with connection:
            async with asyncio.timeout(CHECK_SECONDS):
                for channel in self.handlers:
                    await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            for handler in self.handlers.values():
                handler("")  # something may have happened while nobody listened
            while True:  # until the connection breaks
                async for notice in connection.notifies(timeout=CHECK_SECONDS, stop_after=1):
                    self.handlers[notice.channel](notice.payload)
                async with asyncio.timeout(CHECK_SECONDS):
                    await connection.execute("SELECT 1")
