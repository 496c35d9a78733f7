"""A sweeper of schedules that kills itself at the N-th point: started by `tests/triggers/test_crashes.py`.

    python -m tests.support.crash_sweeper     one JSON object a line: {"url", "home", "kill_at"}

The process imports Atom once and forks a sweeper for each line. Points are: before and after each statement, and
before and after the commit. It answers with the number of points that were reached, -1 for one that was killed.
"""

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import make_url

from atom.infra.db import unit_of_work
from atom.settings import DatabaseSettings
from atom.web.testing import settings_for_tests
from atom.wiring import build


@dataclass(slots=True)
class Points:
    """At `kill_at` (from 1; 0: never) the process is gone."""

    kill_at: int
    reached: int = 0

    def point(self, *_: Any) -> None:
        self.reached += 1
        if self.reached == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


async def sweep(url: str, home: Path, points: Points) -> None:
    settings = settings_for_tests(home, database=DatabaseSettings(pool_size=1, max_overflow=0))
    atom = build(settings, make_url(url), make_url(url))
    engine = atom.parts.base.engine.sync_engine
    event.listen(engine, "before_cursor_execute", points.point)
    event.listen(engine, "after_cursor_execute", points.point)
    commit = engine.dialect.do_commit

    def do_commit(connection: Any) -> None:
        points.point()
        commit(connection)
        points.point()

    engine.dialect.do_commit = do_commit  # type: ignore[method-assign, assignment]
    async with unit_of_work(atom.parts.base.sessions) as session:
        await atom.parts.triggers.chores[0](session)
    await atom.aclose()


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        told, tells = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.dup2(2, 1)  # the log is not an answer
            points = Points(order["kill_at"])
            asyncio.run(sweep(order["url"], Path(order["home"]), points))
            os.write(tells, str(points.reached).encode())
            os._exit(0)
        os.close(tells)
        os.waitpid(pid, 0)
        print(os.read(told, 20).decode() or "-1", flush=True)
        os.close(told)


if __name__ == "__main__":
    main()
