"""kill -9 at the points of a consolidation and of a split: every word, lexeme and vector is in its place after each of
them, no consolidated episode is half done, and the next one finishes the work.

The sample takes some points. `MEMORY_VOLUME=all` takes every one, as `make campaign` does.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import URL

from tests.conftest import TEMPLATE, Cluster
from tests.memory.conftest import agent_in
from tests.support.consolidations import Verbatim, check, fill, layer_of
from tests.support.crash_consolidation import THRESHOLD
from tests.support.databases import rows, sessions_on
from tests.support.processes import environment

ALL = os.environ.get("MEMORY_VOLUME") == "all"
POINTS = 5  # of all of them, in the sample
KILLED = -signal.SIGKILL
EPISODES = 16
SECONDS = 3600


@dataclass(slots=True)
class Worker:
    process: "subprocess.Popen[str]"
    home: Path

    async def work(self, url: URL, kill_at: int, *, split: bool) -> int:
        return await asyncio.to_thread(self._work, url, kill_at, split)

    def points(self) -> list[str]:
        lines = (self.home / "points.jsonl").read_text().splitlines()
        (self.home / "points.jsonl").unlink()
        return [json.loads(line)["name"] for line in lines]

    def _work(self, url: URL, kill_at: int, split: bool) -> int:  # noqa: FBT001 - private
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        address = url.render_as_string(hide_password=False)
        order = {"url": address, "home": str(self.home), "kill_at": kill_at, "split": split}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def worker(open_folder: Path) -> Iterator[Worker]:
    home = open_folder / uuid4().hex[:8]
    home.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.crash_consolidation"],
        env=environment(None),
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield Worker(process, home)
    process.kill()
    process.wait(5)


@dataclass(frozen=True, slots=True)
class Store:
    cluster: Cluster
    name: str
    before: Verbatim

    @asynccontextmanager
    async def copy(self) -> AsyncIterator[URL]:
        name = f"crash_{uuid4().hex[:10]}"
        url = await asyncio.to_thread(self.cluster.create, name, self.name)
        yield url
        await asyncio.to_thread(self.cluster.drop, name)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def store(cluster: Cluster) -> AsyncIterator[Store]:
    """Embedded episodes in four groups."""
    name = f"memories_{uuid4().hex[:10]}"
    url = await asyncio.to_thread(cluster.create, name, TEMPLATE)
    async with sessions_on(url) as sessions:
        layer = layer_of(sessions, THRESHOLD)
        await fill(sessions, layer.service, await agent_in(sessions, "worker"), EPISODES, turns=3)
        while await layer.embedding.once():
            pass
        before = await Verbatim.of(sessions)
    yield Store(cluster, name, before)
    await asyncio.to_thread(cluster.drop, name)


@pytest.mark.timeout(SECONDS)
async def test_killed_in_a_consolidation_nothing_is_lost_and_the_next_one_finishes(
    store: Store, worker: Worker
) -> None:
    async with store.copy() as url:
        assert await worker.work(url, 0, split=False) == 0, (worker.home / "work.log").read_text()[-3000:]
        names, (groups, report) = worker.points(), await ended(url, store)
        whole = await moved(url)
    assert groups > 1
    seen = set()
    for kill_at in sample(names):
        async with store.copy() as url:
            code = await worker.work(url, kill_at, split=False)
            assert code == KILLED, (kill_at, names[kill_at - 1])
            async with sessions_on(url) as sessions:
                seen.add(await check(sessions, store.before))
            assert await worker.work(url, 0, split=False) == 0
            assert await ended(url, store) == (groups, report), (kill_at, names[kill_at - 1])
            assert await moved(url) == whole
        worker.points()
    assert len(seen) > 1, "some died before the first group and some after it"


@pytest.mark.timeout(SECONDS)
async def test_killed_in_a_split_nothing_is_lost_and_the_next_one_finishes(store: Store, worker: Worker) -> None:
    async with store.copy() as done:
        assert await worker.work(done, 0, split=False) == 0
        worker.points()
        assert done.database is not None
        consolidated = Store(store.cluster, done.database, store.before)
        async with consolidated.copy() as url:
            assert await worker.work(url, 0, split=True) == 0
            names = worker.points()
        for kill_at in sample(names):
            async with consolidated.copy() as url:
                assert await worker.work(url, kill_at, split=True) == KILLED, (kill_at, names[kill_at - 1])
                async with sessions_on(url) as sessions:
                    await check(sessions, store.before)
                    assert await worker.work(url, 0, split=True) == 0
                    assert await check(sessions, store.before) == 0
            worker.points()


def sample(names: list[str]) -> list[int]:
    """Every point, or some of them with each side of some commits."""
    every = range(1, len(names) + 1)
    if ALL:
        return list(every)
    commits = [no for no in every if "commit" in names[no - 1]]
    return sorted({*every[:: max(1, len(names) // POINTS)], *commits[len(commits) // 2 :][:4]})


async def ended(url: URL, store: Store) -> tuple[int, dict[str, object]]:
    """Groups that there are, and what the report says: the same as if nothing had died."""
    async with sessions_on(url) as sessions:
        groups = await check(sessions, store.before)
        [(report,)] = await rows(sessions, "SELECT report FROM memory_job_run WHERE kind = 'consolidate'")
    counted = ("groups", "episodes", "alone", "segments", "bytes_before", "bytes_after", "bytes_freed", "agents")
    return groups, {name: report[name] for name in counted}


async def moved(url: URL) -> int:
    async with sessions_on(url) as sessions:
        [(count,)] = await rows(sessions, "SELECT count(*) FROM episode WHERE storage_tier = 'warm'")
    return int(count)
