"""How fast runs go through: beside the bare queue with a no-op job, and beside the bare commits of the same journal.

    .venv/bin/python bench/runs.py [--runs 400] [--rounds 3] [--json FILE]

A run asks a scripted model, makes one tool call and answers: three journaled steps. Each kind of work is done by a
process of its own that is stopped while its work is queued and then let go. Rounds of the kinds take turns, so that a
busy machine is busy for all. PostgreSQL is the embedded one with its ordinary durability.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import psycopg
from psycopg.types.json import Jsonb
from pydantic import SecretStr
from sqlalchemy import URL

from atom.agents.service import Changes
from atom.durable.adapters.procrastinate import ProcrastinateDoorbell
from atom.durable.ports import Topic
from atom.identity.models import Principal, Role
from atom.infra.database_url import libpq, parse_database_url
from atom.infra.db import unit_of_work
from atom.infra.embedded_postgres import EmbeddedPostgres
from atom.infra.log import configure
from atom.infra.schema import migrate
from atom.kit.ids import new_id
from atom.llm.access import Access
from atom.llm.adapters.script import Reply
from atom.llm.ports import ChatRequest, Completion, TextDelta
from atom.llm.testing import ScriptedModel, call
from atom.runs.service import Order
from atom.settings import LlmSettings, Provider, RunSettings, Settings
from atom.web.server import Server, ServerRole
from atom.wiring import Atom, build

AT_ONCE = 8
STEPS = 3
IDLE_RUNS = 60
WAIT_SECONDS = 300.0
ADMIN = Principal(UUID(int=1), "bench", Role.ADMIN)
SCRIPT = (Reply(tool_calls=(call("calculate", expression="6*7"),)), Reply("It is 42."))


class Endless:
    """A scripted model for any number of runs."""

    provider = Provider.SCRIPTED

    async def stream(self, request: ChatRequest) -> AsyncIterator[TextDelta | Completion]:
        turn = sum(message.role == "assistant" for message in request.messages)
        async for item in ScriptedModel(SCRIPT[turn]).stream(request):
            yield item

    async def aclose(self) -> None:
        """Nothing is open."""


def atom_on(url: URL, home: Path) -> Atom:
    async def model(_: Access) -> Endless:
        return Endless()

    settings = Settings(
        home=home,
        runs=RunSettings(max_concurrent=AT_ONCE),
        llm=LlmSettings(provider=Provider.SCRIPTED, scripted_path=home / "unused.json"),
    )
    return build(settings, url, url, models={Provider.SCRIPTED: model})


async def work_on_runs(url: URL, home: Path) -> None:
    async def ready(_: object) -> bool:
        print("ready", flush=True)
        return False

    await Server(atom_on(url, home), frozenset({ServerRole.WORKER}), ready).run()


async def work_on_queue(url: URL, _: Path) -> None:
    """The same queue, the same number at once, and nothing to do."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def nothing(_: UUID) -> None:
        return

    print("ready", flush=True)
    await ProcrastinateDoorbell(libpq(url), 5.0).work({Topic.RUN: nothing}, {Topic.RUN: AT_ONCE}, stop)


WORKERS: dict[str, Callable[[URL, Path], Coroutine[Any, Any, None]]] = {"runs": work_on_runs, "queue": work_on_queue}


@contextmanager
def worker(kind: str, url: str, home: Path) -> Iterator[psutil.Process]:
    command = [sys.executable, __file__, "--worker", kind, "--url", url, "--home", str(home)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if "ready" not in process.stdout.readline():
            raise SystemExit(f"the worker {kind} did not start")
        time.sleep(1.0)  # its connections and listeners
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


@dataclass(slots=True)
class Bench:
    url: URL
    home: Path
    runs: int
    plain: str = field(init=False)
    agent: UUID = field(init=False)

    def __post_init__(self) -> None:
        self.plain = self.url.set(drivername="postgresql").render_as_string(hide_password=False)

    async def prepare(self) -> None:
        atom = atom_on(self.url, self.home)
        async with unit_of_work(atom.parts.base.sessions) as session:
            definition = Changes(tools=("calculate",))
            self.agent = (await atom.parts.agents.create(session, ADMIN, "bench", definition)).id
        await atom.aclose()

    def sql(self, query: str) -> tuple[Any, ...]:
        with psycopg.connect(self.plain, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchone() or ()

    async def queue_runs(self, count: int) -> None:
        atom = atom_on(self.url, self.home)
        for _ in range(0, count, 20):
            async with unit_of_work(atom.parts.base.sessions) as session:
                for _ in range(20):
                    await atom.parts.runs.start(session, ADMIN, "bench", Order("What is 6*7?"))
        await atom.aclose()

    async def queue_rings(self, count: int) -> None:
        atom = atom_on(self.url, self.home)
        for _ in range(0, count, 20):
            async with unit_of_work(atom.parts.base.sessions) as session:
                await atom.parts.base.doorbell.ring(session, Topic.RUN, [new_id() for _ in range(20)])
        await atom.aclose()

    def drain(self, kind: str, left: str) -> tuple[float, float]:
        """Works a full queue off. Returns jobs a second, and CPU seconds of the worker a job."""
        with worker(kind, self.plain, self.home) as process:
            process.suspend()
            asyncio.run(self.queue_runs(self.runs) if kind == "runs" else self.queue_rings(self.runs))
            before, began = process.cpu_times(), time.monotonic()
            process.resume()
            while self.sql(left)[0]:
                if time.monotonic() - began > WAIT_SECONDS:
                    raise SystemExit(f"{kind}: the queue was not worked off in {WAIT_SECONDS:g} s")
                time.sleep(0.02)
            seconds, after = time.monotonic() - began, process.cpu_times()
        cpu = after.user + after.system - before.user - before.system
        return self.runs / seconds, cpu / self.runs

    def idle(self) -> list[float]:
        """Milliseconds that each of some runs waited, one at a time."""
        with worker("runs", self.plain, self.home):
            asyncio.run(self._trickle())
            time.sleep(1.0)
        query = (
            "SELECT array_agg(1000 * extract(epoch FROM started_at - created_at)::float8) FROM"
            f" (SELECT * FROM agent_execution ORDER BY id DESC LIMIT {IDLE_RUNS}) newest"
        )
        return sorted(self.sql(query)[0])

    async def _trickle(self) -> None:
        atom = atom_on(self.url, self.home)
        for _ in range(IDLE_RUNS):
            async with unit_of_work(atom.parts.base.sessions) as session:
                await atom.parts.runs.start(session, ADMIN, "bench", Order("What is 6*7?"))
            await asyncio.sleep(0.15)
        await atom.aclose()

    def floor(self) -> float:
        """Runs a second when nothing is done but the commits that one run's journal needs, without Atom."""
        asyncio.run(self.queue_runs(self.runs))
        ids = list(self.sql("SELECT array_agg(id) FROM agent_execution WHERE status = 'queued'")[0])
        seconds = asyncio.run(self._commits(ids))
        self.sql("DELETE FROM procrastinate_jobs RETURNING 1")
        return len(ids) / seconds

    async def _commits(self, ids: list[UUID]) -> float:
        left = list(ids)

        async def one() -> None:
            async with await psycopg.AsyncConnection.connect(self.plain) as connection:
                while left:
                    await journal_of(connection, left.pop(), self.agent)

        began = time.monotonic()
        await asyncio.gather(*(one() for _ in range(AT_ONCE)))
        return time.monotonic() - began


RUN = "UPDATE agent_execution SET lease_expires_at = now() + interval '8 seconds', status = %s WHERE id = %s"
STEP = (
    "INSERT INTO execution_step (execution_id, step_no, key, kind, name, status, epoch, request, result, ended_at)"
    " VALUES (%s, %s, %s, %s, 'scripted', %s, 1, '{}', %s, now())"
)
EVENT = "INSERT INTO event (id, type, actor, agent_id, run_id, data, v) VALUES (%s, %s, 'agent:bench', %s, %s, %s, 1)"
CALL = (
    "INSERT INTO llm_call (id, execution_id, step_key, attempt, provider, model, outcome, seconds)"
    " VALUES (%s, %s, %s, 1, 'scripted', 'scripted', 'ok', 0.1)"
)
AUDIT = (
    "INSERT INTO audit_entry (id, actor, action, decision, reason, agent_id, run_id, data)"
    " VALUES (%s, 'agent:bench', 'calculate', 'allow', 'within_maturity', %s, %s, %s)"
)
DATA = Jsonb({"v": 1, "text": "It is 42.", "tool_calls": [], "finish_reason": "stop", "usage": {"input_tokens": 9}})


async def journal_of(connection: psycopg.AsyncConnection[Any], run: UUID, agent: UUID) -> None:
    """The seven transactions of a run: claim, start, reply, call begun, call ended, reply, end."""

    async def event(kind: str) -> None:
        await connection.execute(EVENT, (new_id(), kind, agent, run, DATA))

    async def touch(status: str = "running") -> None:
        await connection.execute(RUN.encode(), (status, run))

    async def reply(number: int, key: str) -> None:
        await touch()
        await connection.execute(STEP, (run, number, key, "model", "done", DATA))
        await connection.execute(CALL, (new_id(), run, key))
        await event("model.replied")
        await connection.commit()

    await touch()
    await connection.commit()
    await touch()
    await event("run.started")
    await connection.commit()
    await reply(1, "turn-0")
    await touch()
    await connection.execute(AUDIT, (new_id(), agent, run, DATA))
    await connection.execute(STEP, (run, 2, "turn-0.call-0", "tool", "started", None))
    await event("tool.requested")
    await connection.commit()
    await touch()
    await connection.execute(
        "UPDATE execution_step SET status = 'done' WHERE execution_id = %s AND step_no = 2", (run,)
    )
    await event("tool.finished")
    await connection.commit()
    await reply(3, "turn-1")
    await connection.execute(
        "UPDATE agent_execution SET status = 'completed', ended_at = now(), lease_expires_at = NULL WHERE id = %s",
        (run,),
    )
    await event("run.completed")
    await connection.commit()


def measure(bench: Bench, rounds: int) -> list[dict[str, Any]]:
    asyncio.run(bench.prepare())
    runs: list[tuple[float, float]] = []
    queue: list[float] = []
    floor: list[float] = []
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        runs.append(bench.drain("runs", "SELECT count(*) FROM agent_execution WHERE ended_at IS NULL"))
        queue.append(bench.drain("queue", "SELECT count(*) FROM procrastinate_jobs")[0])
        floor.append(bench.floor())
    waits = bench.idle()
    rate, share = statistics.median(rate for rate, _ in runs), statistics.median(queue)
    cpu = 1000 * statistics.median(cpu for _, cpu in runs) / STEPS
    bare = statistics.median(floor)
    return [
        row("runs", rate, "runs/s", 50, better="higher"),
        row("bare queue, no-op jobs", share, "jobs/s"),
        row("runs, share of the bare queue", 100 * rate / share, "%", 50, better="higher"),
        row("bare commits of the same journal", bare, "runs/s"),
        row("runs, share of the bare commits", 100 * rate / bare, "%"),
        row("CPU of the worker, a step", cpu, "ms", 3),
        row("queue wait when idle, p50", waits[len(waits) // 2], "ms"),
        row("queue wait when idle, p95", waits[int(len(waits) * 0.95)], "ms", 25),
    ]


def row(name: str, value: float, unit: str, goal: float | None = None, *, better: str = "lower") -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "value": round(value, 3), "unit": unit}
    return found if goal is None else {**found, "goal": goal, "better": better}


def on_a_database_of_its_own(options: argparse.Namespace) -> list[dict[str, Any]]:
    folder = Path(tempfile.mkdtemp(prefix="atom-bench-"))
    folder.chmod(0o711)
    postgres = EmbeddedPostgres(folder)
    try:
        postgres.start()
        url = parse_database_url(postgres.endpoint.url)
        migrate(url)
        return measure(Bench(url, folder, options.runs), options.rounds)
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400, help="runs of each round, a multiple of 20")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the report there")
    parser.add_argument("--worker", choices=sorted(WORKERS), help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    configure("warning", None)
    if options.worker:
        asyncio.run(WORKERS[options.worker](parse_database_url(SecretStr(options.url)), options.home))
        os._exit(0)
    found = on_a_database_of_its_own(options)
    for row in found:
        print(f"{row['name']:<36} {row['value']:>10.2f} {row['unit']:<7} {row.get('goal', '')}")
    if options.json:
        options.json.write_text(json.dumps({"rows": found}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
