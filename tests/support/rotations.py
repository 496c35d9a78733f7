"""Rotations of provider keys in processes that are killed, and what must hold of the keys after each of them."""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import URL

from atom.infra.db import Sessions, create_engine, create_sessions
from atom.infra.metrics import DatabaseMetrics
from atom.infra.outage import database_outage
from atom.llm.vault.kek import MANAGED
from atom.settings import DatabaseSettings
from tests.conftest import TEMPLATE, Cluster
from tests.support.processes import environment
from tests.support.vaults import Replica

KILLED = -signal.SIGKILL


@dataclass(slots=True)
class Zygote:
    process: "subprocess.Popen[str]"

    def rotate(self, place: "Place", kill_at: int) -> int:
        """The exit code of a rotation in a process of its own, which is killed there: see `crash_rotation`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        url = place.url.render_as_string(hide_password=False)
        order = {"url": url, "home": str(place.home), "kill_at": kill_at}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.crash_rotation"],
        env=environment(None),
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield Zygote(process)
    process.kill()
    process.wait(5)


@asynccontextmanager
async def connected(url: URL) -> AsyncIterator[Sessions]:
    engine = create_engine(url, DatabaseSettings(pool_size=3, max_overflow=0))
    yield create_sessions(engine, database_outage(), DatabaseMetrics(CollectorRegistry()))
    await engine.dispose()


@dataclass(frozen=True, slots=True)
class Place:
    """A database with keys in it, and the home with the file that opens them."""

    cluster: Cluster
    name: str
    home: Path
    keys: int

    @property
    def url(self) -> URL:
        return self.cluster.url(self.name)

    @asynccontextmanager
    async def copy(self) -> AsyncIterator["Place"]:
        made = Place(self.cluster, f"rotate_{uuid4().hex[:10]}", self.home.parent / uuid4().hex[:8], self.keys)
        made.home.mkdir()
        shutil.copy2(self.home / MANAGED, made.home)
        await asyncio.to_thread(self.cluster.create, made.name, self.name)
        yield made
        await asyncio.to_thread(self.cluster.drop, made.name)

    async def check(self, code: int) -> set[str]:
        """Nothing is lost. Returns the ids of the keys that the stored ones are wrapped by."""
        assert code in {KILLED, 0}, (self.home / "rotation.log").read_text()
        async with connected(self.url) as sessions:
            replica = Replica(sessions, self.home)
            assert await replica.lost() == []
            return await replica.wrapped_by()

    async def finished(self) -> dict[str, Any]:
        """After a whole rotation: everything is under the new key, and the former one may go."""
        report: dict[str, Any] = json.loads((self.home / "report.json").read_text())
        assert (report["left"], report["unopened"]) == (0, [])
        lines = (self.home / MANAGED).read_text().split()
        assert len(lines) == 2, "an interrupted rotation goes on with the key that it had begun with"
        (self.home / MANAGED).write_text(lines[0])
        assert await self.check(0) == {report["kek_id"]}
        return report


async def made(cluster: Cluster, folder: Path, keys: int) -> Place:
    place = Place(cluster, f"keys_{uuid4().hex[:10]}", folder / uuid4().hex[:8], keys)
    place.home.mkdir()
    await asyncio.to_thread(cluster.create, place.name, TEMPLATE)
    async with connected(place.url) as sessions:
        await Replica(sessions, place.home).add(*(f"k{number}" for number in range(keys)))
    return place
