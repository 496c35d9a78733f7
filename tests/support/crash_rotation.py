"""A rotation that kills itself at a point of its work: started by `tests/llm/keys/test_rotation_crashes.py`.

    python -m tests.support.crash_rotation      one JSON object a line: {"url", "home", "kill_at"}; answers with the end

The process imports Atom once and forks for each line; the answer is the exit code, negative for a signal. Points are:
before and after each statement, before and after each commit, and before each change of a file in the home. With
`kill_at` 0 the names of the points are written to `points.jsonl`. A whole rotation leaves `report.json`.

`kill_at` -1: at the first step where no rotation of this home has died yet. A step is a point, the key that it is
about, and how often the process was there before. Sent until it ends, the line kills a rotation at each of its steps
in turn: the one that ends has met none where another had not died. `died.jsonl` has them.
"""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from prometheus_client import CollectorRegistry
from sqlalchemy import event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from atom.infra.db import create_engine, create_sessions
from atom.infra.metrics import DatabaseMetrics
from atom.infra.outage import database_outage
from atom.settings import DatabaseSettings
from tests.support.crash_worker import append
from tests.support.vaults import Replica

NEVER, AT_THE_NEXT = 0, -1
FILES = ("open", "os.rename", "os.remove")  # as the interpreter announces them, before they happen


@dataclass(slots=True)
class Points:
    """`died`: the steps where one has died already."""

    home: Path
    kill_at: int
    died: frozenset[str] = frozenset()
    reached: int = 0
    quiet: bool = False
    about: str = ""  # what the present transaction has done last
    met: Counter[str] = field(default_factory=Counter)

    def point(self, name: str) -> None:
        if self.quiet:
            return
        self.reached += 1
        if self.kill_at == AT_THE_NEXT:
            step = f"{name}: {self.about}"
            self.met[step] += 1
            step += f", {self.met[step]}"
            if step not in self.died:
                self._note("died.jsonl", step=step)
                os.kill(os.getpid(), signal.SIGKILL)
        elif self.reached == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.kill_at == NEVER:
            self._note("points.jsonl", no=self.reached, name=name)

    def _note(self, file: str, **values: Any) -> None:
        self.quiet = True  # writing this is no point
        append(self.home / file, **values)
        self.quiet = False

    def watch(self, engine: AsyncEngine) -> None:
        def before(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
            self.about = " ".join([_short(statement), *_keys(parameters)])
            self.point(f"before {_short(statement)}")

        def after(_: Any, __: Any, statement: str, *___: Any) -> None:
            self.point(f"after {_short(statement)}")

        event.listen(engine.sync_engine, "before_cursor_execute", before)
        event.listen(engine.sync_engine, "after_cursor_execute", after)
        dialect = engine.sync_engine.dialect
        commit = dialect.do_commit

        def do_commit(connection: Any) -> None:
            self.point("before commit")
            commit(connection)
            self.point("after commit")

        dialect.do_commit = do_commit  # type: ignore[method-assign, assignment]
        sys.addaudithook(self._audit)

    def _audit(self, what: str, arguments: tuple[Any, ...]) -> None:
        if what in FILES and Path(str(arguments[0])).name in {"vault.key", "vault.new"}:
            self.point(f"{what} {Path(str(arguments[0])).name}")


def _short(statement: str) -> str:
    return " ".join(statement.split())[:60]


def _keys(parameters: Any) -> list[str]:
    """The ids of the provider keys that a statement is about; of many rows at once there are none."""
    one = parameters if isinstance(parameters, dict) else {}
    return [str(value) for value in one.values() if isinstance(value, UUID)]


async def work(url: str, points: Points) -> None:
    engine = create_engine(make_url(url), DatabaseSettings(pool_size=2, max_overflow=0))
    sessions = create_sessions(engine, database_outage(), DatabaseMetrics(CollectorRegistry()))
    points.watch(engine)
    report = await Replica(sessions, points.home).rotated()
    points.quiet = True
    (points.home / "report.json").write_text(json.dumps(report))
    await engine.dispose()


def rotate(order: dict[str, Any], died: frozenset[str]) -> None:
    """In the child."""
    home = Path(order["home"])
    output = os.open(home / "rotation.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(0)
    asyncio.run(work(order["url"], Points(home, order["kill_at"], died)))
    os._exit(0)


def main() -> None:
    deaths: dict[str, list[str]] = {}
    for line in sys.stdin:
        order = json.loads(line)
        known = deaths.setdefault(order["home"], [])
        pid = os.fork()
        if not pid:
            rotate(order, frozenset(known))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code == -signal.SIGKILL and order["kill_at"] == AT_THE_NEXT:
            lines = (Path(order["home"]) / "died.jsonl").read_text().splitlines()
            known += [json.loads(one)["step"] for one in lines[len(known) :]]
        print(code, flush=True)


if __name__ == "__main__":
    main()
