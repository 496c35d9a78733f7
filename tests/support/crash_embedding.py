"""A re-embedding that kills itself at a point of its work: started by `tests/memory/test_reembedding_crashes.py`.

    python -m tests.support.crash_embedding     one JSON object a line: {"url", "home", "kill_at"}; answers with the end

As in `crash_rotation`, whose points these are: before and after each statement and each commit. With `kill_at` 0 the
names of the points are written to `points.jsonl`. What a worker that died had in hand is taken up at once: the tests
do not wait for the end of its lease.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from sqlalchemy import make_url

from atom.agents.service import AgentService
from atom.events.service import Outbox, Signal
from atom.infra.db import create_engine, create_sessions
from atom.infra.metrics import DatabaseMetrics
from atom.infra.outage import database_outage
from atom.memory.cold_bodies import Bodies
from atom.memory.embedding import EmbeddingWorker
from atom.memory.metrics import MemoryMetrics
from atom.memory.reading import Reading
from atom.memory.service import MemoryService
from atom.memory.testing import FaultyColdStore
from atom.retrieval.testing import WordEmbedder
from atom.settings import DatabaseSettings, MemorySettings
from tests.support.crash_rotation import Points
from tests.support.databases import execute

NEXT = WordEmbedder(name="words-2", dimensions=32)


async def work(url: str, points: Points) -> None:
    engine = create_engine(make_url(url), DatabaseSettings(pool_size=2, max_overflow=0))
    sessions = create_sessions(engine, database_outage(), DatabaseMetrics(CollectorRegistry()))
    await execute(sessions, "UPDATE episode_unembedded SET leased_until = 'epoch'")
    points.watch(engine)
    agents = AgentService(Outbox(Signal()), frozenset(), lambda _: None)
    reading = Reading(MemoryService(agents, MemorySettings(), Signal()), Bodies(sessions, FaultyColdStore()))
    worker = EmbeddingWorker(sessions, NEXT, Signal(), MemoryMetrics(CollectorRegistry()), reading, grace_seconds=0)
    while await worker.once():
        pass
    points.quiet = True
    await engine.dispose()


def embed(order: dict[str, Any]) -> None:
    """In the child."""
    home = Path(order["home"])
    output = os.open(home / "embedding.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(0)
    asyncio.run(work(order["url"], Points(home, order["kill_at"])))
    os._exit(0)


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            try:
                embed(order)
            except BaseException:
                os.write(2, b"failed\n")
                raise
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


KILLED = -signal.SIGKILL

if __name__ == "__main__":
    main()
