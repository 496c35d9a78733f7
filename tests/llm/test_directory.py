"""What people set of keys, routes and budgets is in force everywhere within a second, whatever is lost on the way."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import URL, event

from atom.agents.names import AgentNames
from atom.events.listener import Listener
from atom.events.service import Outbox, Signal
from atom.infra.database_url import libpq
from atom.infra.db import Sessions, unit_of_work
from atom.kit.clock import SystemClock
from atom.llm.budgets.models import Scope, Unit, Window
from atom.llm.budgets.service import BudgetService, NewBudget
from atom.llm.directory import CHANNEL, MAX_AGE, PATIENCE, DatabaseDirectory
from atom.llm.keys.service import KeyChanges, KeyService, NewKey, RouteWish
from atom.llm.routes import Config
from atom.llm.subjects import Subjects
from atom.llm.vault.kek import KekSource
from atom.llm.vault.service import Vault
from atom.settings import LlmSettings, Provider, VaultSettings
from tests.support.databases import execute, sessions_on
from tests.support.polling import eventually
from tests.support.proxy import proxied

WITHIN = 1.0
Change = Callable[["Desk"], Awaitable[None]]


class Desk:
    """Where a person changes things."""

    def __init__(self, sessions: Sessions, home: Path) -> None:
        outbox = Outbox(Signal())
        self.sessions = sessions
        self.keys = KeyService(Vault(KekSource(VaultSettings(), home)), outbox)
        self.budgets = BudgetService(outbox, SystemClock(), Subjects(AgentNames()))

    async def add(self, name: str) -> None:
        new = NewKey(provider=Provider.OPENAI, name=name, secret=SecretStr("x"))
        async with unit_of_work(self.sessions) as session:
            await self.keys.add(session, "t", new)

    async def change(self, name: str, changes: KeyChanges) -> None:
        async with unit_of_work(self.sessions) as session:
            await self.keys.change(session, "t", name, changes)

    async def route(self, *wishes: RouteWish) -> None:
        async with unit_of_work(self.sessions) as session:
            await self.keys.set_routes(session, "t", wishes)

    async def limit(self) -> None:
        new = NewBudget(Scope.DEPLOYMENT, None, Unit.TOKENS, Window.DAY, Decimal(10))
        async with unit_of_work(self.sessions) as session:
            await self.budgets.put(session, "t", new)

    def directory(self, sessions: Sessions | None = None) -> DatabaseDirectory:
        return DatabaseDirectory(sessions or self.sessions, self.keys, LlmSettings(), SystemClock())


@pytest.fixture
def desk(sessions: Sessions, home: Path) -> Desk:
    return Desk(sessions, home)


@asynccontextmanager
async def process(desk: Desk, url: URL, *, hears: bool = True) -> AsyncIterator[DatabaseDirectory]:
    """A process that nobody asks for a model. `hears`: notifications reach it."""
    async with sessions_on(url, pool=2) as sessions:
        directory, stop = desk.directory(sessions), asyncio.Event()
        await directory.fresh()
        tasks = [asyncio.create_task(directory.watch(stop))]
        if hears:
            tasks.append(asyncio.create_task(Listener(libpq(url), {CHANNEL: directory.hear}).run(stop)))
        yield directory
        stop.set()
        await asyncio.gather(*tasks)


async def key_added(desk: Desk) -> None:
    await desk.add("second")


async def key_disabled(desk: Desk) -> None:
    await desk.change("first", KeyChanges(enabled=False))


async def secret_replaced(desk: Desk) -> None:
    await desk.change("first", KeyChanges(secret=SecretStr("y")))


async def routes_set(desk: Desk) -> None:
    await desk.route(RouteWish(Provider.LOCAL))


CHANGES: list[tuple[Change, Callable[[Config], bool]]] = [
    (key_added, lambda config: len(config.keys) == 2),
    (key_disabled, lambda config: config.keys == ()),
    (secret_replaced, lambda config: config.keys[0].version == 2),
    (routes_set, lambda config: [line.provider for line in config.lines] == [Provider.LOCAL]),
    (Desk.limit, lambda config: [one.amount for one in config.budgets] == [Decimal(10)]),
]


@pytest.mark.parametrize(("change", "known"), CHANGES)
@pytest.mark.parametrize("hears", [True, False], ids=["notified", "the notification is lost"])
async def test_a_change_is_known_in_two_processes_within_a_second(
    desk: Desk, database: URL, *, hears: bool, change: Change, known: Callable[[Config], bool]
) -> None:
    await desk.add("first")
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(process(desk, database, hears=hears)) for _ in range(2)]
        assert not any(known(one.config) for one in found)
        await change(desk)
        await eventually(lambda: all(known(one.config) for one in found), WITHIN)


async def test_a_call_never_goes_by_what_is_older_than_its_bound(desk: Desk) -> None:
    """Also in a process that neither watches nor hears."""
    directory = desk.directory()
    await directory.fresh()
    await desk.add("first")
    await asyncio.sleep(MAX_AGE)
    assert len((await directory.fresh()).keys) == 1


async def test_fifty_calls_at_once_read_it_once(desk: Desk) -> None:
    begun: list[object] = []
    event.listen(desk.sessions.kw["bind"].sync_engine, "begin", begun.append)
    directory = desk.directory()
    await asyncio.gather(*(directory.fresh() for _ in range(50)))
    assert directory.config.version > 0
    assert len(begun) == 1


@pytest.mark.parametrize("trouble", ["down", "hangs"])
async def test_without_its_database_what_was_known_last_stays_in_force(desk: Desk, database: URL, trouble: str) -> None:
    await desk.add("first")
    async with proxied(database) as (proxy, through), process(desk, through) as directory:
        if trouble == "down":
            await proxy.refuse()
        else:
            proxy.freeze()
        await asyncio.sleep(MAX_AGE)
        began = time.monotonic()
        for _ in range(20):  # no call waits longer than the first second of the trouble
            answers = await asyncio.gather(*(directory.fresh() for _ in range(10)))
            assert {len(config.keys) for config in answers} == {1}
        assert time.monotonic() - began < PATIENCE + 5
        await desk.add("second")
        await proxy.accept()  # it thaws too
        await eventually(lambda: len(directory.config.keys) == 2, 5.0)


async def test_routes_and_keys_are_of_one_moment(desk: Desk, database: URL) -> None:
    """A list read a moment after the keys could name one that is not among them: a run would fail for it."""
    await desk.add("first")
    await desk.change("first", KeyChanges(enabled=False))
    between: list[str] = []

    def change(*said: object) -> None:
        if "FROM provider_key" in str(said[2]) and not between:
            between.append(str(said[2]))
            with psycopg.connect(libpq(database)) as connection:
                connection.execute("UPDATE provider_key SET status = 'active'")
                connection.execute(
                    "INSERT INTO llm_route (position, provider, key_id) SELECT 1, provider, id FROM provider_key"
                )

    directory = desk.directory()
    event.listen(desk.sessions.kw["bind"].sync_engine, "after_cursor_execute", change)
    config = await directory.fresh()
    assert between
    assert (config.keys, config.lines) == ((), ())
    directory.hear("")
    config = await directory.fresh()
    assert [line.key_id for line in config.lines] == [key.id for key in config.keys]
    assert config.lines


async def test_a_database_that_was_set_back_is_believed(desk: Desk, sessions: Sessions) -> None:
    """After a restore the version is a lower one."""
    await desk.add("first")
    directory = desk.directory()
    assert len((await directory.fresh()).keys) == 1
    await execute(sessions, "DELETE FROM provider_key")
    await execute(sessions, "UPDATE llm_config SET version = 1")
    directory.hear("")
    assert (await directory.fresh()).keys == ()
