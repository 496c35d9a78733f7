"""kill -9 at the points of an archive and of a restore: no text is lost, and the next run finishes the work.

The sample takes some points. `MEMORY_VOLUME=all` takes every one, as `make campaign` does, and a store of a thousand
episodes that is killed again and again until it has ended.
"""

import asyncio
import json
import os
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conftest import Cluster
from tests.support.cold_places import ARCHIVE, KILLED, RESTORE, ColdPlaces, Zygote, made, zygote

__all__ = ["zygote"]
ALL = os.environ.get("MEMORY_VOLUME") == "all"
FEW = 8
MANY = 1_000 if ALL else 12
POINTS = 4  # of all of them, in the sample, besides those about the cold store
STEP = 7 if ALL else 23  # how much further each run of a chain comes
NEVER = 0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def few(cluster: Cluster, open_folder: Path) -> ColdPlaces:
    return await made(cluster, open_folder, FEW)


def _chosen(names: list[str]) -> list[int]:
    """All, or a sample: the first of each point about the cold store, and some of the others."""
    every = range(1, len(names) + 1)
    if ALL:
        return [*every]
    store = {names.index(name) + 1 for name in set(names) if not name.split()[1].isupper() and "commit" not in name}
    return sorted(store | set(every[:: len(names) // POINTS]))


@pytest.mark.timeout(7_000)
@pytest.mark.parametrize("job", [ARCHIVE, RESTORE])
async def test_killed_at_any_point_nothing_is_lost_and_the_next_run_finishes(
    few: ColdPlaces, zygote: Zygote, job: str
) -> None:
    before = await few.look(0)
    async with few.copy() as whole:
        assert await whole.look(await asyncio.to_thread(zygote.work, whole, job, NEVER)) == before
        assert await whole.leftovers() == []
        names, report = whole.points(), json.loads((whole.home / "report.json").read_text())
    wanted = (
        {"before put", "in the middle of put", "after put", "after get", "after delete"} if job == ARCHIVE else set()
    )
    assert wanted | {"before commit", "after commit", "after read"} <= set(names)
    for kill_at in _chosen(names):
        async with few.copy() as place:
            code = await asyncio.to_thread(zygote.work, place, job, kill_at)
            assert code == KILLED, (kill_at, names[kill_at - 1])
            assert await place.look(code) == before, names[kill_at - 1]
            assert await place.look(await asyncio.to_thread(zygote.work, place, job, NEVER)) == before
            again = json.loads((place.home / "report.json").read_text())
            assert (again["episodes"], again["segments"]) == (report["episodes"], report["segments"]), names[
                kill_at - 1
            ]
            assert await place.leftovers() == [], names[kill_at - 1]


@pytest.mark.timeout(7_000)
async def test_killed_again_and_again_archive_and_restore_come_to_their_ends(
    cluster: Cluster, open_folder: Path, zygote: Zygote
) -> None:
    place = await made(cluster, open_folder, MANY)
    before, kills = await place.look(0), 0
    for job, tier in ((ARCHIVE, "cold"), (RESTORE, "hot")):
        code, kill_at = KILLED, 1
        while code == KILLED:
            code = await asyncio.to_thread(zygote.work, place, job, kill_at)
            assert await place.look(code) == before, f"{job}, kill {kills}"
            kill_at, kills = kill_at + STEP, kills + (code == KILLED)
        async with place.opened() as memory:
            assert await memory.rows("SELECT DISTINCT storage_tier FROM episode") == [(tier,)]
        assert await place.leftovers() == []
    assert kills >= 4
    assert [file for file in (place.home / "cold").rglob("*") if file.is_file()] == []
    await asyncio.to_thread(cluster.drop, place.name)
