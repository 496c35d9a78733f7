"""kill -9 at the points of a rotation: every key opens after each of them, and the next one finishes the work.

The sample takes some points. `VAULT_VOLUME=all` takes every one, and a thousand keys, as `make campaign` does.
"""

import asyncio
import json
import os
import random
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
import pytest_asyncio
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

ALL = os.environ.get("VAULT_VOLUME") == "all"
FEW = 3  # keys where every point is a case of its own
MANY = 1000 if ALL else 200
KILLS = 200 if ALL else 6
POINTS = 5  # of all of them, in the sample
POINTS_OF_A_KEY = 8
KILLED = -signal.SIGKILL


@dataclass(slots=True)
class Zygote:
    process: "subprocess.Popen[str]"

    def rotate(self, url: URL, home: Path, kill_at: int) -> int:
        """The exit code of a rotation in a process of its own, which is killed at that point (0: never)."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        order = {"url": url.render_as_string(hide_password=False), "home": str(home), "kill_at": kill_at}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.crash_rotation"],
        env=environment(None),
        cwd=Path(__file__).parents[3],
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


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def few(cluster: Cluster, open_folder: Path) -> Place:
    return await made(cluster, open_folder, FEW)


async def test_killed_at_any_point_nothing_is_lost_and_the_next_one_finishes(few: Place, zygote: Zygote) -> None:
    async with few.copy() as whole:
        assert await asyncio.to_thread(zygote.rotate, whole.url, whole.home, 0) == 0
        names = [json.loads(line)["name"] for line in (whole.home / "points.jsonl").read_text().splitlines()]
        assert (await whole.finished())["rewrapped"] == FEW
    files = [no for no, name in enumerate(names, 1) if "vault.new" in name]
    assert {"os.rename vault.new", "before commit", "after commit"} <= set(names)
    assert len(files) >= 3
    near = {no + step for no in files for step in (0, 1)}  # where the file and the register are not at one
    every = range(1, len(names) + 1)
    sample = near | set(every[:: len(names) // POINTS])
    seen: set[int] = set()
    for kill_at in every if ALL else sorted(sample):
        async with few.copy() as place:
            code = await asyncio.to_thread(zygote.rotate, place.url, place.home, kill_at)
            assert code == KILLED, (kill_at, names[kill_at - 1])
            seen.add(len(await place.check(code)))
            assert await asyncio.to_thread(zygote.rotate, place.url, place.home, 0) == 0
            if len((place.home / MANAGED).read_text().split()) == 3:  # all was done, nobody had heard: a second one
                assert kill_at > names.index("after commit")
                continue
            await place.finished()
    assert seen >= {1, 2}


async def test_killed_again_and_again_a_thousand_keys_are_rotated(
    cluster: Cluster, open_folder: Path, zygote: Zygote
) -> None:
    """Each rotation gets a little further than the one before."""
    place = await made(cluster, open_folder, MANY)
    chance, killed, code = random.Random(20261124), 0, KILLED
    longest = 2 * POINTS_OF_A_KEY * MANY // KILLS
    for _ in range(KILLS):
        code = await asyncio.to_thread(zygote.rotate, place.url, place.home, chance.randint(1, longest))
        await place.check(code)
        killed += code == KILLED
        if code == 0:
            break
    assert killed > KILLS // 2
    assert code == 0 or await asyncio.to_thread(zygote.rotate, place.url, place.home, 0) == 0
    await place.finished()
    await asyncio.to_thread(cluster.drop, place.name)
