"""A rotation that kills itself at the N-th point of its work: started by `tests/llm/keys/test_rotation_crashes.py`.

    python -m tests.support.crash_rotation      one JSON object a line: {"url", "home", "kill_at"}; answers with the end

The process imports Atom once and forks for each line; the answer is the exit code, negative for a signal. Points are:
before and after each statement, before and after each commit, and before each change of a file in the home. With
`kill_at` 0 the names of the points are written to `points.jsonl`. A whole rotation leaves `report.json`.
"""

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from sqlalchemy import event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from atom.infra.db import create_engine, create_sessions
from atom.infra.metrics import DatabaseMetrics
from atom.infra.outage import database_outage
from atom.settings import DatabaseSettings
from tests.support.crash_worker import append
from tests.support.vaults import Replica

FILES = ("open", "os.rename", "os.remove")  # as the interpreter announces them, before they happen


@dataclass(slots=True)
class Points:
    home: Path
    kill_at: int
    reached: int = 0
    quiet: bool = False

    def point(self, name: str) -> None:
        if self.quiet:
            return
        self.reached += 1
        if self.reached == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if not self.kill_at:
            self.quiet = True  # writing this is no point
            append(self.home / "points.jsonl", no=self.reached, name=name)
            self.quiet = False

    def watch(self, engine: AsyncEngine) -> None:
        def before(_: Any, __: Any, statement: str, *___: Any) -> None:
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


async def work(url: str, home: Path, kill_at: int) -> None:
    points = Points(home, kill_at)
    engine = create_engine(make_url(url), DatabaseSettings(pool_size=2, max_overflow=0))
    sessions = create_sessions(engine, database_outage(), DatabaseMetrics(CollectorRegistry()))
    points.watch(engine)
    report = await Replica(sessions, home).rotated()
    points.quiet = True
    (home / "report.json").write_text(json.dumps(report))
    await engine.dispose()


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid:
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
            continue
        output = os.open(Path(order["home"]) / "rotation.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(0)
        asyncio.run(work(order["url"], Path(order["home"]), order["kill_at"]))
        os._exit(0)


if __name__ == "__main__":
    main()
