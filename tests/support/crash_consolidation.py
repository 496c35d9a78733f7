"""A consolidation, or a split, that kills itself at a point of its work: started by
`tests/memory/test_consolidation_crashes.py`.

    python -m tests.support.crash_consolidation     one JSON object a line: {"url", "home", "kill_at", "split"}

The process imports Atom once and forks for each line; the answer is the exit code, negative for a signal. Points are
before and after each statement and each commit, numbered from 1. With `kill_at` 0 their names are written to
`points.jsonl`. `split`: every consolidated episode that there is, in place of a consolidation.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from prometheus_client import CollectorRegistry
from sqlalchemy import make_url

from atom.infra.db import Sessions, create_engine, create_sessions, unit_of_work
from atom.infra.metrics import DatabaseMetrics
from atom.infra.outage import database_outage
from atom.memory import job_runs
from atom.settings import DatabaseSettings
from tests.support.consolidations import layer_of
from tests.support.crash_rotation import Points
from tests.support.databases import rows

RUN = UUID("00000000-0000-0000-0000-000000000014")
THRESHOLD = 8


async def work(order: dict[str, Any]) -> None:
    engine = create_engine(make_url(order["url"]), DatabaseSettings(pool_size=2, max_overflow=0))
    sessions = create_sessions(engine, database_outage(), DatabaseMetrics(CollectorRegistry()))
    Points(Path(order["home"]), order["kill_at"]).watch(engine)
    if order["split"]:
        await split(sessions)
    else:
        await consolidate(sessions)
    await engine.dispose()


async def consolidate(sessions: Sessions) -> None:
    """As the job does it: whoever goes on with it says the same run."""

    async def silent(_: int, __: int | None) -> None:
        """Nobody watches."""

    async with unit_of_work(sessions) as session:
        await job_runs.record_started(session, "consolidate", id_=RUN)
    report = await layer_of(sessions, THRESHOLD).consolidator.consolidate(None, RUN, silent)
    async with unit_of_work(sessions) as session:
        await job_runs.record_finished(session, RUN, job_runs.RunOutcome.DONE, report.told())


async def split(sessions: Sessions) -> None:
    for (id_,) in await rows(sessions, "SELECT id FROM episode WHERE source = 'consolidation' ORDER BY id"):
        await layer_of(sessions, THRESHOLD).splitter.split("admin:ann", id_)


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            output = os.open(Path(order["home"]) / "work.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(0)
            asyncio.run(work(order))
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
