"""kill -9 at the points of a rotation: every key opens after each of them, and the next one finishes the work.

The sample takes some points, and few keys. `VAULT_VOLUME=all` takes every one, and a thousand keys, each of whose steps
is killed, as `make campaign` does; how far that has come is in `build/campaign/rotation.json`.
"""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from atom.infra.db import Sessions, unit_of_work
from atom.llm.keys import store
from atom.llm.keys.models import ProviderKey
from atom.llm.keys.rotation import BATCH
from atom.llm.vault.kek import MANAGED
from tests.conftest import Cluster
from tests.support.crash_rotation import AT_THE_NEXT, NEVER
from tests.support.rotations import KILLED, Place, Zygote, connected, made, zygote
from tests.support.vaults import Replica

__all__ = ["zygote"]
ALL = os.environ.get("VAULT_VOLUME") == "all"
FEW = 3  # keys where every point is a case of its own
MANY = 1000 if ALL else 1
STEPS_OF_A_KEY = {
    ("before", "SELECT"): 1, ("after", "SELECT"): 1, ("before", "UPDATE"): 1, ("after", "UPDATE"): 1,
    ("before", "commit:"): 1, ("after", "commit:"): 1,
}  # fmt: skip
POINTS = 5  # of all of them, in the sample
SECONDS = 7000  # within what a campaign gives a file
PROGRESS = Path(__file__).parents[3] / "build" / "campaign" / "rotation.json"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def few(cluster: Cluster, open_folder: Path) -> Place:
    return await made(cluster, open_folder, FEW)


async def test_killed_at_any_point_nothing_is_lost_and_the_next_one_finishes(few: Place, zygote: Zygote) -> None:
    async with few.copy() as whole:
        assert await asyncio.to_thread(zygote.rotate, whole, NEVER) == 0
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
            code = await asyncio.to_thread(zygote.rotate, place, kill_at)
            assert code == KILLED, (kill_at, names[kill_at - 1])
            seen.add(len(await place.check(code)))
            assert await asyncio.to_thread(zygote.rotate, place, NEVER) == 0
            if len((place.home / MANAGED).read_text().split()) == 3:  # all was done, nobody had heard: a second one
                assert kill_at > names.index("after commit")
                continue
            await place.finished()
    assert seen >= {1, 2}


@pytest.mark.timeout(SECONDS)
async def test_killed_at_each_step_in_turn_a_thousand_keys_stay_open(
    cluster: Cluster, open_folder: Path, zygote: Zygote
) -> None:
    """A rotation is killed at its first step, the next one goes on and is killed at the second, until one ends."""
    place = await made(cluster, open_folder, MANY)
    begun, kills, code = time.monotonic(), 0, KILLED
    async with connected(place.url) as sessions:
        while code == KILLED:
            code = await asyncio.to_thread(zygote.rotate, place, AT_THE_NEXT)
            assert code in {KILLED, 0}, (place.home / "rotation.log").read_text()
            kills += code == KILLED
            assert await Replica(sessions, place.home).lost() == [], f"after kill {kills}"
            if ALL and (kills % 100 == 0 or code == 0):
                tell(kills, time.monotonic() - begun, whole=code == 0)
        ids = [str(key.id) for key in await stored(sessions)]
    steps = [json.loads(line)["step"] for line in (place.home / "died.jsonl").read_text().splitlines()]
    assert len(steps) == len(set(steps)) == kills
    each_step_was_one(steps, ids)
    report = json.loads((place.home / "report.json").read_text())
    assert (report["left"], report["unopened"]) == (0, [])
    former = (place.home / MANAGED).read_text().split()[1:]
    assert former, "the last key alone is left, and opens everything"
    (place.home / MANAGED).write_text((place.home / MANAGED).read_text().split()[0])
    assert await place.check(code) == {report["kek_id"]}
    await asyncio.to_thread(cluster.drop, place.name)


async def stored(sessions: Sessions) -> Sequence[ProviderKey]:
    async with unit_of_work(sessions) as session:
        return await store.page(session, after=None, limit=MANY)


def tell(kills: int, seconds: float, *, whole: bool) -> None:
    PROGRESS.parent.mkdir(parents=True, exist_ok=True)
    said = {"keys": MANY, "kills": kills, "seconds": round(seconds), "whole": whole}
    PROGRESS.write_text(json.dumps(said) + "\n")


def each_step_was_one(steps: list[str], ids: list[str]) -> None:
    """Of each key: before and after each of its statements and its commit. And of what is before, between and after."""
    of_keys = Counter((step.split()[0], step.split()[1], key) for step in steps for key in ids if key in step)
    for key in ids:
        for name, times in STEPS_OF_A_KEY.items():
            assert of_keys[*name, key] >= times, (name, key)
    around = [step for step in steps if not any(key in step for key in ids)]
    for point in (
        "open vault.new",
        "os.rename vault.new",
        "before INSERT INTO vault_kek",
        "after INSERT INTO vault_kek",
    ):
        assert any(step.startswith(point) for step in around), point
    settling = "SELECT pg_advisory_xact_lock(%(lock)s), 2"  # the one that comes when all keys are done
    assert {step.split()[0] for step in around if step.endswith(settling)} == {"before", "after"}
    assert sum(step.startswith("after SELECT id FROM provider_key") for step in steps) >= MANY // BATCH
