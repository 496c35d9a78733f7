"""How fast memory is consolidated, and what it frees: episodes a second, and hot bytes before and after.

    .venv/bin/python bench/consolidation.py [--episodes 2000] [--json FILE]

The episodes are of one agent on an embedded PostgreSQL with its ordinary durability: forty subjects, eight turns each.
`consolidation_rate` is for other benches that have a store already.
"""

import argparse
import asyncio
import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from prometheus_client import CollectorRegistry
from sqlalchemy import URL

from atom.agents.service import AgentService, Changes
from atom.events.service import Outbox, Signal
from atom.identity.models import Principal, Role
from atom.infra.database_url import parse_database_url
from atom.infra.db import Sessions, create_engine, create_sessions, unit_of_work
from atom.infra.embedded_postgres import EmbeddedPostgres
from atom.infra.log import configure
from atom.infra.metrics import DatabaseMetrics
from atom.infra.outage import database_outage
from atom.infra.schema import migrate
from atom.kit.clock import SystemClock
from atom.kit.ids import new_id
from atom.memory import job_runs, store
from atom.memory.adapters.cold_objects import open_cold_store
from atom.memory.drafts import Draft, SegmentKind, Source, Turn
from atom.memory.layer import MemoryLayer, build_memory
from atom.settings import DatabaseSettings, MemorySettings

BEGAN = datetime(2025, 1, 6, 9, 0, tzinfo=UTC)
SUBJECTS = 40
GOAL_SHARE = 30.0  # per cent of the hot bytes that may be left


@dataclass(frozen=True, slots=True)
class Rate:
    episodes: int
    groups: int
    seconds: float
    hot_before: int
    hot_after: int

    @property
    def per_second(self) -> float:
        return self.episodes / self.seconds

    @property
    def hot_share(self) -> float:
        """Per cent of the hot bytes that are left."""
        return 100 * self.hot_after / max(1, self.hot_before)


async def consolidation_rate(memory: MemoryLayer, sessions: Sessions, agent_id: UUID | None = None) -> Rate:
    """Of one run over an agent's memory, or everybody's."""

    async def silent(_: int, __: int | None) -> None:
        """Nobody watches."""

    before = await _hot_bytes(sessions, agent_id)
    async with unit_of_work(sessions) as session:
        run = await job_runs.record_started(session, "consolidate", whole=agent_id is None)
    began = time.perf_counter()
    report = await memory.consolidator.consolidate(agent_id, run, silent)
    seconds = time.perf_counter() - began
    return Rate(report.done, report.groups, seconds, before, await _hot_bytes(sessions, agent_id))


async def _hot_bytes(sessions: Sessions, agent_id: UUID | None) -> int:
    async with unit_of_work(sessions) as session:
        return (await store.by_tier(session, agent_id)).get("hot", (0, 0, 0))[2]


def _draft(agent_id: UUID, number: int) -> Draft:
    subject, began = f"subject{number % SUBJECTS}", BEGAN + timedelta(hours=number)
    said = [f"The {subject} is on host{number % 7}."]
    said += [
        f"{subject} was checked for {subject} case {number} turn {turn}: nothing to add. " * 5 for turn in range(7)
    ]
    turns = [Turn(SegmentKind.MESSAGE, "Ann", text, began + timedelta(minutes=n)) for n, text in enumerate(said)]
    return Draft(agent_id, Source.API, turns, created_by="bench", labels=frozenset())


async def run(url: URL, home: Path, episodes: int) -> Rate:
    engine = create_engine(url, DatabaseSettings(pool_size=3, max_overflow=0))
    sessions = create_sessions(engine, database_outage(), DatabaseMetrics(CollectorRegistry()))
    agents = AgentService(Outbox(Signal()), frozenset(), lambda _: None)
    settings = MemorySettings(embedder="none")
    memory = build_memory(
        agents,
        settings,
        sessions,
        embedder=None,
        registry=CollectorRegistry(),
        clock=SystemClock(),
        cold=open_cold_store(settings, home),
    )
    async with unit_of_work(sessions) as session:
        person = Principal(new_id(), "bench", Role.OPERATOR)
        agent_id = (await agents.create(session, person, "worker", Changes())).id
    for start in range(0, episodes, 100):
        async with unit_of_work(sessions) as session:
            for number in range(start, min(episodes, start + 100)):
                await memory.service.record(session, _draft(agent_id, number))
    found = await consolidation_rate(memory, sessions)
    await engine.dispose()
    return found


def report_of(rate: Rate) -> dict[str, Any]:
    return {
        "rows": [
            {"name": "consolidated", "value": round(rate.per_second, 1), "unit": "episodes/s"},
            {"name": "hot bytes left", "value": round(rate.hot_share, 1), "unit": "%", "goal": GOAL_SHARE},
        ],
        "episodes": rate.episodes,
        "groups": rate.groups,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=2_000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    configure("warning", None)
    home = Path(tempfile.mkdtemp(prefix="atom-bench-"))
    home.chmod(0o711)
    postgres = EmbeddedPostgres(home)
    try:
        postgres.start()
        url = parse_database_url(postgres.endpoint.url)
        migrate(url)
        report = report_of(asyncio.run(run(url, home, given.episodes)))
    finally:
        postgres.stop()
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps(report, indent=2))
    if given.json:
        given.json.write_text(json.dumps(report))


if __name__ == "__main__":
    main()
