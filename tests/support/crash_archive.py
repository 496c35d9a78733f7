"""An archive or a restore that kills itself at a point of its work: started by `tests/memory/test_archive_crashes.py`.

    python -m tests.support.crash_archive      one JSON object a line: {"url", "home", "work", "kill_at"}

The process imports Atom once and forks for each line; the answer is the exit code, negative for a signal. Points are:
before and after each statement, before and after each commit, before, in the middle of and after each write to the cold
store, and before and after each other request to it. With `kill_at` 0 their names are written to `points.jsonl`.
"""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from prometheus_client import CollectorRegistry
from sqlalchemy import make_url

from atom.infra.db import create_engine, create_sessions, unit_of_work
from atom.infra.metrics import DatabaseMetrics
from atom.infra.outage import database_outage
from atom.memory import job_runs
from atom.memory.adapters.cold_objects import ColdObjects, open_cold_store
from atom.memory.jobs import handlers
from atom.settings import DatabaseSettings
from tests.support.cold_places import RUN, SETTINGS, layer_on
from tests.support.crash_rotation import Points


@dataclass(slots=True)
class DeadlyStore:
    """The folder, in which writing may end in the middle."""

    inner: ColdObjects
    points: Points

    @property
    def place(self) -> str:
        return self.inner.place

    async def put(self, path: str, content: bytes) -> None:
        self.points.point("before put")
        assert self.inner.folder is not None
        torn = self.inner.folder / f"{path}#1"  # as obstore writes it, before it gets its name
        torn.parent.mkdir(parents=True, exist_ok=True)
        torn.write_bytes(content[: len(content) // 2])
        self.points.point("in the middle of put")
        torn.unlink()
        await self.inner.put(path, content)
        self.points.point("after put")

    async def get(self, path: str) -> bytes:
        self.points.point("before get")
        content = await self.inner.get(path)
        self.points.point("after get")
        return content

    async def read(self, path: str, start: int, size: int) -> bytes:
        self.points.point("before read")
        content = await self.inner.read(path, start, size)
        self.points.point("after read")
        return content

    async def delete(self, path: str) -> None:
        self.points.point("before delete")
        await self.inner.delete(path)
        self.points.point("after delete")


async def nothing(_: int, __: int | None) -> None:
    """Progress that nobody watches."""


async def work(url: str, job: str, points: Points) -> None:
    engine = create_engine(make_url(url), DatabaseSettings(pool_size=4, max_overflow=0))
    sessions = create_sessions(engine, database_outage(), DatabaseMetrics(CollectorRegistry()))
    layer = layer_on(sessions, DeadlyStore(open_cold_store(SETTINGS, points.home), points))
    async with unit_of_work(sessions) as session:
        await job_runs.record_started(session, job, id_=UUID(RUN))
    points.watch(engine)
    report = await handlers(layer)[job]({"run": RUN}, nothing)
    points.quiet = True
    (points.home / "report.json").write_text(json.dumps(report))
    await engine.dispose()


def start(order: dict[str, Any]) -> None:
    """In the child."""
    home = Path(order["home"])
    output = os.open(home / "work.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(0)
    asyncio.run(work(order["url"], order["work"], Points(home, order["kill_at"])))
    os._exit(0)


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            start(order)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
