"""A database that goes away delays what viewers see; it loses nothing and repeats nothing."""

import asyncio
from pathlib import Path
from uuid import uuid4

from atom.client.feed import feed
from atom.client.models import Event
from atom.infra.database_url import parse_database_url
from atom.infra.embedded_postgres import EmbeddedPostgres
from atom.web.testing import RunningAtom, running_atom, settings_for_tests

SECONDS = 30.0


async def created(atom: RunningAtom, count: int) -> list[str]:
    """Names of new agents, made however long the database takes to be back."""
    names: list[str] = []
    async with asyncio.timeout(SECONDS):
        while len(names) < count:
            name = uuid4().hex
            answer = await atom.http.post("/api/agents", json={"name": name})
            if answer.status_code == 201:
                names.append(name)
            else:
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
                await asyncio.sleep(0.1)
    return names


async def collect(atom: RunningAtom, after: int, into: list[Event]) -> None:
    async for item in feed(atom.url, atom.token, after):
        if isinstance(item, Event):
            into.append(item)  # noqa: PERF401 - the test reads it while it grows


async def test_every_event_of_before_and_after_an_outage_comes_once(own: EmbeddedPostgres, home: Path) -> None:
    async with running_atom(settings_for_tests(home), parse_database_url(own.endpoint.url)) as atom:
        live: list[Event] = []
        watching = asyncio.create_task(collect(atom, 0, live))
        names = await created(atom, 3)
        for _ in range(2):
            await asyncio.to_thread(own.stop)
            late: list[Event] = []
            coming = asyncio.create_task(collect(atom, 0, late))  # comes while the database is away
            answer = await atom.http.get("/api/agents")
            assert answer.status_code == 503
            own.start()
            names += await created(atom, 3)
            for seen in (live, late):
                await has(seen, names)
            coming.cancel()
        watching.cancel()
        numbers = [event.seq for event in live]
        assert numbers == sorted(set(numbers))
        assert [event.data["name"] for event in live if event.type == "agent.created"] == names


async def has(seen: list[Event], names: list[str]) -> None:
    async with asyncio.timeout(SECONDS):
        while [event.data["name"] for event in seen if event.type == "agent.created"] != names:
            await asyncio.sleep(0.05)
