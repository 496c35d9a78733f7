"""A worker that kills itself at the N-th point of its work: started by `tests/chaos/test_every_boundary.py`.

    python -m tests.support.crash_worker        one JSON object a line: {"url", "home", "kill_at"}; answers with a pid

The process imports Atom once and forks a worker for each line. Points are: before and after each statement, and before
and after the commit, of every transaction that claims or writes a run; before, during and after each model call;
before and after the effect of each tool. What happened outside is written to files that outlive the worker, before it
happens to anybody else: `provider.jsonl` (requests and replies) and `sink.jsonl` (effects).
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import make_url

from atom.governance.models import EffectClass
from atom.llm.access import Access
from atom.llm.adapters.script import Reply
from atom.llm.ports import ChatRequest, Completion, TextDelta
from atom.llm.testing import ScriptedModel, call
from atom.settings import DatabaseSettings, Provider, RunSettings
from atom.tools.ports import Tool, ToolContext, ToolOutput
from atom.web.server import Server, ServerRole
from atom.web.testing import settings_for_tests
from atom.wiring import Atom, build

LEASE = 2.0
TOOLS = ("current_time", "write_file", "delete_file")
SCRIPT: tuple[Reply, ...] = (
    Reply(tool_calls=(call("current_time"),)),
    Reply(tool_calls=(call("write_file", path="a.txt", content="x"),)),
    Reply(tool_calls=(call("delete_file", path="a.txt"),)),
    Reply("Everything is done."),
)
OURS = ("pg_advisory_xact_lock(", "UPDATE agent_execution SET ")


def append(path: Path, **line: Any) -> None:
    """Durable before this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, json.dumps(line).encode() + b"\n")
    os.fsync(descriptor)
    os.close(descriptor)


@dataclass(slots=True)
class Points:
    """Counts the points; at `kill_at` (from 1; 0: never) the process is gone."""

    folder: Path
    kill_at: int
    reached: int = 0
    _open: dict[int, bool] = field(default_factory=dict, init=False)

    def point(self, name: str) -> None:
        self.reached += 1
        if not self.kill_at:
            append(self.folder / "points.jsonl", no=self.reached, name=name, pid=os.getpid())
        if self.reached == self.kill_at:
            append(self.folder / "killed.jsonl", no=self.reached, name=name)
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, atom: Atom) -> None:
        engine = atom.parts.base.engine.sync_engine
        event.listen(engine, "before_cursor_execute", self._before)
        event.listen(engine, "after_cursor_execute", self._after)
        commit = engine.dialect.do_commit

        def do_commit(connection: Any) -> None:
            ours = self._open.pop(id(connection.driver_connection), None)
            if ours:
                self.point("before commit")
            commit(connection)
            if ours:
                self.point("after commit")

        engine.dialect.do_commit = do_commit  # type: ignore[method-assign, assignment]

    def _before(self, connection: Any, _c: Any, statement: str, *_: Any) -> None:
        raw = id(connection.connection.driver_connection)
        if any(sign in statement for sign in OURS):
            self._open[raw] = True
        if self._open.get(raw):
            self.point(f"before {_short(statement)}")

    def _after(self, connection: Any, _c: Any, statement: str, *_: Any) -> None:
        if self._open.get(id(connection.connection.driver_connection)):
            self.point(f"after {_short(statement)}")


def _short(statement: str) -> str:
    return " ".join(statement.split())[:60]


@dataclass(slots=True)
class LedgerModel:
    """Answers by the number of turns before; writes what it was asked and what it said."""

    points: Points
    ledger: Path
    provider: str = Provider.SCRIPTED

    async def stream(self, request: ChatRequest) -> AsyncIterator[TextDelta | Completion]:
        turn = sum(message.role == "assistant" for message in request.messages)
        self.points.point(f"before model {turn}")
        append(self.ledger, turn=turn, what="asked")
        begun = False
        async for item in ScriptedModel(SCRIPT[turn]).stream(request):
            if isinstance(item, Completion):
                tokens = (item.usage.input_tokens or 0) + (item.usage.output_tokens or 0)
                append(self.ledger, turn=turn, what="replied", tokens=tokens)
            yield item
            if not begun:
                self.points.point(f"during model {turn}")
            begun = True
        self.points.point(f"after model {turn}")

    async def aclose(self) -> None:
        """Nothing is open."""


def counted(tool: Tool, points: Points, sink: Path) -> Tool:
    """The tool, with its effect on record outside. `current_time` becomes one that is repeatable by its key."""

    async def run(arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        points.point(f"before {tool.name}")
        append(sink, tool=tool.name, key=context.idempotency_key)
        output = await tool.run(arguments, context)
        points.point(f"after {tool.name}")
        return output

    effect = EffectClass.IDEMPOTENT if tool.name == "current_time" else tool.action.effect
    return replace(tool, action=replace(tool.action, effect=effect), run=run)


async def work(url: str, home: Path, kill_at: int) -> None:
    points = Points(home, kill_at)

    async def factory(_: Access) -> LedgerModel:
        return LedgerModel(points, home / "provider.jsonl")

    settings = settings_for_tests(
        home,
        runs=RunSettings(lease_seconds=LEASE, sweep_seconds=0.1, max_concurrent=1),
        database=DatabaseSettings(pool_size=4, max_overflow=0),
    )
    address = make_url(url)
    atom = build(settings, address, address, models={Provider.SCRIPTED: factory})
    for name in TOOLS:
        atom.worker.registry._tools[name] = counted(atom.worker.registry.get(name), points, home / "sink.jsonl")
    points.watch(atom)

    async def ready(_: object) -> bool:
        return False

    await Server(atom, frozenset({ServerRole.WORKER}), ready).run()


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the workers: they leave no zombies
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid:
            print(pid, flush=True)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        output = os.open(Path(order["home"]) / "worker.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(0)
        asyncio.run(work(order["url"], Path(order["home"]), order["kill_at"]))
        os._exit(0)


if __name__ == "__main__":
    main()
