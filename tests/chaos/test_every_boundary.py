"""kill -9 at every step boundary of a reference run; another worker goes on; an independent checker finds it whole.

The sample takes a part of the points. `CRASH_POINTS=all` takes every one, as `make campaign` does.
"""

import asyncio
import copy
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest

from atom.agents.service import Changes
from atom.governance.approvals import Word
from atom.governance.inbox_store import Wanted
from atom.governance.tables import ApprovalStatus
from atom.identity.models import Principal, Role
from atom.infra.db import unit_of_work
from atom.runs.control import Review, ReviewDecision
from atom.runs.service import Order
from atom.web.testing import settings_for_tests
from atom.wiring import Atom, build
from tests.conftest import TEMPLATE, Cluster
from tests.support.crash_worker import TOOLS
from tests.support.processes import environment
from tests.support.run_checker import Seen, lines, look, violations

SIDE_BY_SIDE = 4
SAMPLE = 24
RUN_SECONDS = 40.0
ADMIN = Principal(UUID(int=1), "test", Role.ADMIN)


@dataclass(slots=True)
class Zygote:
    """Forks a worker in milliseconds: it has imported everything."""

    process: "subprocess.Popen[str]"
    pids: list[int] = field(default_factory=list)

    def worker(self, url: str, home: Path, kill_at: int) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"url": url, "home": str(home), "kill_at": kill_at}) + "\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline())
        self.pids.append(pid)
        return pid


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.crash_worker"],
        env=environment(None),
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    found = Zygote(process)
    yield found
    for pid in found.pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.kill()
    process.wait(5)


@dataclass(slots=True)
class Case:
    """One reference run on a database of its own. `kills` may be several: one for each worker in turn."""

    cluster: Cluster
    zygote: Zygote
    folder: Path
    retries: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    async def play(self, *kills: int) -> Seen:
        name = f"crash_{uuid4().hex[:10]}"
        url = await asyncio.to_thread(self.cluster.create, name, TEMPLATE)
        plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
        operator = build(settings_for_tests(self.folder), url, url)
        try:
            run_id = await self._queue(operator)
            await asyncio.wait_for(self._to_the_end(operator, plain, run_id, list(kills)), RUN_SECONDS)
            return look(plain, str(run_id), self.folder, retries=self.retries, told=self.told)
        finally:
            await operator.aclose()
            await asyncio.to_thread(self.cluster.drop, name)

    async def _queue(self, operator: Atom) -> UUID:
        async with unit_of_work(operator.parts.base.sessions) as session:
            definition = Changes(tools=TOOLS, maturity="supervised")
            await operator.parts.agents.create(session, ADMIN, "worker", definition)
            return await operator.parts.runs.start(session, ADMIN, "worker", Order("Do it all."))

    async def _to_the_end(self, operator: Atom, url: str, run_id: UUID, kills: list[int]) -> None:
        worker = self.zygote.worker(url, self.folder, kills.pop(0) if kills else 0)
        try:
            while True:
                async with unit_of_work(operator.parts.base.sessions) as session:
                    run, _ = await operator.parts.runs.get(session, run_id)
                if run.ended_at is not None:
                    return
                if run.wait_reason == "approval":
                    await self._approve(operator)
                if run.wait_reason == "review":
                    await self._review(operator, run_id)
                if not psutil.pid_exists(worker):
                    worker = self.zygote.worker(url, self.folder, kills.pop(0) if kills else 0)
                await asyncio.sleep(0.03)
        finally:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGTERM)
            for _ in range(200):
                if not psutil.pid_exists(worker):
                    break
                await asyncio.sleep(0.02)

    async def _approve(self, operator: Atom) -> None:
        async with unit_of_work(operator.parts.base.sessions) as session:
            wanted = Wanted(status=ApprovalStatus.PENDING)
            waiting = await operator.parts.approvals.page(session, wanted, before=None, limit=1)
            for approval, _ in waiting:
                await operator.parts.approvals.decide(session, ADMIN, approval.id, Word(approve=True))

    async def _review(self, operator: Atom, run_id: UUID) -> None:
        """What a person would do: look outside whether it happened."""
        async with unit_of_work(operator.parts.base.sessions) as session:
            step = await operator.parts.control.open_call(session, run_id)
            assert step is not None
            happened = any(line["key"].endswith(f":{step.key}") for line in lines(self.folder / "sink.jsonl"))
            if happened:
                self.told.append(step.key)
                word = Review(ReviewDecision.DONE, step.key, result="It happened.")
            else:
                self.retries.append(step.key)
                word = Review(ReviewDecision.RETRY, step.key)
            await operator.parts.control.review(session, ADMIN, run_id, word)


@pytest.fixture
def case(cluster: Cluster, zygote: Zygote, open_folder: Path) -> Iterator[Any]:
    folders: list[Path] = []

    def make() -> Case:
        folder = open_folder / f"crash-{uuid4().hex[:8]}"
        folder.mkdir()
        folders.append(folder)
        return Case(cluster, zygote, folder)

    yield make
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


async def count_points(case: Any) -> list[str]:
    """The points of one worker that walks the whole run alone."""
    first = case()
    seen = await first.play()
    assert violations(seen) == []
    assert seen.run["status"] == "completed"
    return [line["name"] for line in lines(first.folder / "points.jsonl")]


def chosen(names: list[str]) -> list[int]:
    """Which points are taken: all, or a sample with what matters most: around commits, models and effects."""
    every = range(1, len(names) + 1)
    if os.environ.get("CRASH_POINTS") == "all":
        return list(every)
    telling = [no for no in every if "commit" in names[no - 1] or "model" in names[no - 1] or "_" in names[no - 1][:14]]
    wanted = telling[:: max(1, len(telling) // (SAMPLE - 6))] + list(every)[:: max(1, len(names) // 6)]
    return sorted(set(wanted))


async def test_run_is_whole_wherever_its_worker_was_killed(case: Any) -> None:
    names = await count_points(case)
    room = asyncio.Semaphore(SIDE_BY_SIDE)
    broken: dict[str, list[str]] = {}
    killed = 0

    async def one(point: int) -> None:
        nonlocal killed
        async with room:
            mine = case()
            seen = await mine.play(point)
        killed += seen.kills
        found = violations(seen)
        if seen.run["status"] != "completed":
            found.append(f"ended as {seen.run['status']}: {seen.run['error']}")
        if found:
            broken[f"{point} {names[point - 1]}"] = found

    points = chosen(names)
    await asyncio.gather(*(one(point) for point in points))
    print(f"{len(names)} points, {len(points)} taken, {killed} workers killed")
    assert broken == {}
    assert killed >= len(points) * 0.9  # a heartbeat more or less moves the numbers of the last points


async def test_run_is_whole_after_several_deaths(case: Any) -> None:
    results = await asyncio.gather(*(case().play(*kills) for kills in ((14, 9), (30, 12, 20), (45, 25))))
    for seen in results:
        assert seen.kills >= 2
        assert violations(seen) == []
        assert seen.run["status"] == "completed"


async def test_every_check_of_the_checker_can_fail(case: Any) -> None:
    good = await case().play()
    assert violations(good) == []
    for name, change in BROKEN.items():
        bad = copy.deepcopy(good)
        changed = change(bad)
        assert violations(changed or bad), name


def _drop_step(seen: Seen) -> None:
    del seen.steps[1]


def _double_step(seen: Seen) -> None:
    seen.steps.append({**seen.steps[0], "step_no": len(seen.steps) + 1})


def _double_effect(seen: Seen) -> None:
    seen.sink.append(next(line for line in seen.sink if line["tool"] == "write_file"))


def _no_effect(seen: Seen) -> None:
    seen.sink.clear()


def _approval_of_something_else(seen: Seen) -> None:
    seen.approvals[0]["digest"] = "0" * 64


def _no_approval(seen: Seen) -> None:
    seen.approvals.clear()


def _used_twice(seen: Seen) -> None:
    seen.approvals.append(dict(seen.approvals[0]))


def _paid_twice(seen: Seen) -> None:
    seen.provider.append({"turn": 0, "what": "replied", "tokens": 1})


def _wrong_sum(seen: Seen) -> None:
    seen.run["output_tokens"] += 1


def _epoch_of_nobody(seen: Seen) -> None:
    seen.steps[-1]["epoch"] = 99


BROKEN: dict[str, Any] = {
    "a step is missing": _drop_step,
    "a step stands twice": _double_step,
    "an effect happened twice": _double_effect,
    "an effect never happened": _no_effect,
    "the approval was for another call": _approval_of_something_else,
    "there was no approval": _no_approval,
    "an approval was used twice": _used_twice,
    "a reply was paid twice": _paid_twice,
    "the sum is wrong": _wrong_sum,
    "a step of an epoch that never was": _epoch_of_nobody,
    "the run is still going on": lambda seen: replace(seen, run={**seen.run, "status": "running"}),
    "somebody owns it": lambda seen: replace(seen, run={**seen.run, "lease_owner": "x"}),
    "it ended twice": lambda seen: replace(seen, events=[*seen.events, seen.events[-1]]),
    "nobody allowed it": lambda seen: replace(seen, audit=[]),
}
