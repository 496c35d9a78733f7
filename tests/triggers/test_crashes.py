"""A sweeper that is killed between a firing and its run leaves both or neither, and the next one goes on."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from atom.web.server import ServerRole
from tests.support.processes import environment
from tests.triggers.conftest import Start

ROOT = Path(__file__).resolve().parents[2]
ORPHANS = """
SELECT (SELECT count(*) FROM trigger_firing WHERE outcome = 'run' AND run_id IS NOT NULL),
    (SELECT count(DISTINCT run_id) FROM trigger_firing), (SELECT count(*) FROM agent_execution),
    (SELECT count(*) FROM trigger_firing)
"""


@contextmanager
def sweeper() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.support.crash_sweeper"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(None), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        process.wait(20)


def swept(process: subprocess.Popen[str], **order: Any) -> int:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()
    return int(process.stdout.readline())


async def test_a_sweeper_killed_anywhere_loses_and_doubles_nothing(start: Start, database: URL, home: Path) -> None:
    url = database.render_as_string(hide_password=False)
    async with start(roles=frozenset({ServerRole.WEB})) as bench:
        await bench.atom.agent("guard", maturity="autonomous")
        await bench.add("often", "guard", "schedule", every="10m")
        with sweeper() as process:

            def sweep(kill_at: int) -> int:
                return swept(process, url=url, home=str(home), kill_at=kill_at)

            await bench.make_due("often")
            points = sweep(0)
            assert points > 30
            step = 1 if os.environ.get("CRASH_POINTS") == "all" else 17
            fired = 1
            for kill_at in [*range(1, points - 2, step), points - 1, points]:
                await bench.make_due("often", ago=f"{kill_at} milliseconds")
                assert sweep(kill_at) == -1, kill_at
                ((runs, distinct, all_runs, firings),) = await bench.rows(ORPHANS)
                assert runs == distinct == all_runs == firings, kill_at
                assert firings == fired + (kill_at == points), kill_at  # all of it from the commit on, nothing before
                assert sweep(0) > 0
                fired += 1
                assert await bench.rows(ORPHANS) == [(fired,) * 4], kill_at
