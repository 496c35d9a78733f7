"""Databases with memory in them and the folders of their cold stores, and what must hold of both after any death."""

import asyncio
import hashlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import URL

from atom.infra.db import Sessions, unit_of_work
from atom.kit.clock import SystemClock
from atom.memory import keeping
from atom.memory.adapters.cold_objects import open_cold_store
from atom.memory.archive_store import Due
from atom.memory.layer import MemoryLayer, build_memory
from atom.memory.ports import ColdStore
from atom.memory.testing import FaultyColdStore
from atom.memory.tiers import to_warm
from atom.retrieval.testing import WordEmbedder
from atom.settings import MemorySettings
from tests.conftest import TEMPLATE, Cluster
from tests.memory import cold_bench
from tests.memory.conftest import AGENTS, Bench, agent_in
from tests.support.databases import sessions_on
from tests.support.processes import environment

KILLED = -signal.SIGKILL
RUN = "01a20a0d-8e88-7117-9c08-46edfd98777f"
SETTINGS = MemorySettings(cold_object_bytes=3_000, cold_keep_days=0)
ARCHIVE, RESTORE = "episodes_archive", "episodes_restore"
LONG_AGO = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)


def layer_on(sessions: Sessions, cold: ColdStore) -> MemoryLayer:
    registry, clock = CollectorRegistry(), SystemClock()
    return build_memory(AGENTS, SETTINGS, sessions, embedder=WordEmbedder(), registry=registry, clock=clock, cold=cold)


@dataclass(slots=True)
class Zygote:
    process: "subprocess.Popen[str]"

    def work(self, place: "ColdPlaces", job: str, kill_at: int) -> int:
        """The exit code of the job in a process of its own, which is killed there: see `crash_archive`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        url = place.url.render_as_string(hide_password=False)
        order = {"url": url, "home": str(place.home), "work": job, "kill_at": kill_at}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.crash_archive"],
        env=environment(None),
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield Zygote(process)
    process.kill()
    process.wait(5)


@dataclass(frozen=True, slots=True)
class Found:
    """All there is: a digest of the texts of each episode, and of everything that finds its turns."""

    texts: dict[UUID, str]
    finding: str


@dataclass(frozen=True, slots=True)
class ColdPlaces:
    """A database with episodes in it, and the home with the cold store's folder."""

    cluster: Cluster
    name: str
    home: Path

    @property
    def url(self) -> URL:
        return self.cluster.url(self.name)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Bench]:
        async with sessions_on(self.url) as sessions:
            layer = layer_on(sessions, open_cold_store(SETTINGS, self.home))
            agent_id = UUID(int=0)
            yield Bench(layer, FaultyColdStore(), sessions, WordEmbedder(), agent_id)

    @asynccontextmanager
    async def copy(self) -> AsyncIterator["ColdPlaces"]:
        made = ColdPlaces(self.cluster, f"cold_{uuid4().hex[:10]}", self.home.parent / uuid4().hex[:8])
        await asyncio.to_thread(shutil.copytree, self.home, made.home)
        await asyncio.to_thread(self.cluster.create, made.name, self.name)
        yield made
        await asyncio.to_thread(self.cluster.drop, made.name)
        await asyncio.to_thread(shutil.rmtree, made.home)

    def points(self) -> list[str]:
        return [json.loads(line)["name"] for line in (self.home / "points.jsonl").read_text().splitlines()]

    async def look(self, code: int) -> Found:
        """Nothing is lost, and every body is in one place. Afterwards the dead runner's lease has run out."""
        assert code in {KILLED, 0}, (self.home / "work.log").read_text()
        async with self.opened() as memory:
            await cold_bench.check(memory)
            texts = {id_: _digest(said) for id_, said in (await cold_bench.whole(memory)).items()}
            finding = _digest(await memory.rows(cold_bench.FINDING))
            await memory.execute("UPDATE cold_lease SET lease_expires_at = now() WHERE lease_owner IS NOT NULL")
        return Found(texts, finding)

    async def leftovers(self) -> list[str]:
        """What the folder has and the database does not name, or the other way round, once it has been tidied."""
        async with self.opened() as memory:
            await cold_bench.tidy(memory)
            named = set(await cold_bench.paths(memory))
            assert await memory.rows("SELECT count(*) FROM cold_object WHERE state <> 'stored'") == [(0,)]
        folder = self.home / "cold"
        files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
        return sorted(files ^ named)


async def made(cluster: Cluster, folder: Path, episodes: int) -> ColdPlaces:
    """Of three agents: some hot, some warm, some cold of which one is forgotten and one is restored."""
    place = ColdPlaces(cluster, f"cold_{uuid4().hex[:10]}", folder / uuid4().hex[:8])
    place.home.mkdir()
    await asyncio.to_thread(cluster.create, place.name, TEMPLATE)
    async with place.opened() as memory:
        agents = [await agent_in(memory.sessions, name) for name in ("one", "two", "three")]
        ids = []
        for number in range(episodes):
            said = [f"Ann: Turn {turn} of talk {number}: naïve 漢字 🦉 {'words ' * turn}" for turn in range(4)]
            written = await memory.remember(
                *said, "Bob: ", agent_id=agents[number % 3], at=LONG_AGO + timedelta(days=number)
            )
            ids.append(written.id)
        await memory.embed()
        await cold_bench.archive(memory, Due(before=LONG_AGO + timedelta(days=episodes - 1)))
        await cold_bench.restore(memory, ids[0])
        async with unit_of_work(memory.sessions) as session:
            await keeping.forget(session, "admin:ann", ids[3], reason="asked for")
        async with unit_of_work(memory.sessions) as session:
            await to_warm(session, ids[-1:])
        tiers: dict[str, int] = dict(await memory.rows("SELECT storage_tier, count(*) FROM episode GROUP BY 1"))
        assert set(tiers) == {"hot", "warm", "cold"}, tiers
    return place


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()
