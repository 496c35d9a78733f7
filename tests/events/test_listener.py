"""What one connection says, the listener of another process hears, through every loss of its own connection."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import psycopg
import pytest
from sqlalchemy import URL

from atom.events.listener import Listener
from atom.infra.database_url import libpq
from tests.conftest import Cluster
from tests.support.databases import backends, terminate
from tests.support.polling import eventually
from tests.support.proxy import proxied

NAME = "atom-listen"


@asynccontextmanager
async def listening(url: URL, handlers: dict[str, Callable[[str], None]]) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(Listener(libpq(url), handlers).run(stop))
    yield
    began = asyncio.get_running_loop().time()
    stop.set()
    await task
    assert asyncio.get_running_loop().time() - began < 1.0


def notify(url: URL, channel: str, *payloads: str) -> None:
    with psycopg.connect(libpq(url), autocommit=True) as connection:
        for payload in payloads:
            connection.execute("SELECT pg_notify(%s, %s)", (channel, payload))


async def test_everything_that_is_said_is_heard_in_order_on_its_channel(database: URL) -> None:
    one: list[str] = []
    two: list[str] = []
    async with listening(database, {"ch_one": one.append, "Ch Two": two.append}):
        await eventually(lambda: one and two)
        assert (one, two) == ([""], [""])  # something may have been said before anybody listened
        said = [f"p{number}" for number in range(500)]
        await asyncio.to_thread(notify, database, "ch_one", *said)
        await asyncio.to_thread(notify, database, "Ch Two", "x")
        await eventually(lambda: len(one) == 501 and len(two) == 2)
    assert one[1:] == said
    assert two == ["", "x"]


async def test_killed_connection_is_made_anew_and_the_gap_is_told(database: URL, cluster: Cluster) -> None:
    heard: list[str] = []
    async with listening(database, {"ch": heard.append}):
        await eventually(lambda: heard == [""])
        assert terminate(cluster, database, NAME) == 1
        await eventually(lambda: heard == ["", ""])
        await asyncio.to_thread(notify, database, "ch", "after")
        await eventually(lambda: heard[-1] == "after")
    assert backends(cluster, database, NAME) == [] or await eventually(lambda: not backends(cluster, database, NAME))


async def test_listener_waits_for_a_server_that_is_away(database: URL) -> None:
    heard: list[str] = []
    async with proxied(database) as (proxy, url):
        await proxy.refuse()
        async with listening(url, {"ch": heard.append}):
            await asyncio.sleep(0.1)
            assert heard == []
            await proxy.accept()
            await eventually(lambda: heard == [""])


async def test_listener_ends_promptly_while_the_server_is_away_or_hangs(database: URL) -> None:
    heard: list[str] = []
    async with proxied(database) as (proxy, url):
        await proxy.refuse()
        async with listening(url, {"ch": heard.append}):
            await asyncio.sleep(0.05)
        await proxy.accept()
        proxy.freeze()
        async with listening(url, {"ch": heard.append}):
            await asyncio.sleep(0.05)
    assert heard == []


async def test_error_of_a_handler_is_not_swallowed(database: URL) -> None:
    def broken(_: str) -> None:
        raise LookupError("a bug")

    with pytest.raises(LookupError):
        async with asyncio.timeout(5):
            await Listener(libpq(database), {"ch": broken}).run(asyncio.Event())
