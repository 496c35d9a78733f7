"""kill -9 at the points of a change of the embedding model: at each of them nothing is lost, and the next worker ends
it with exactly one vector of the new model for every segment.

The sample takes some points. `CRASH_POINTS=all` takes every one, as `make campaign` does.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from sqlalchemy import URL

from atom.infra.db import unit_of_work
from atom.kit.clock import SystemClock
from atom.memory.layer import build_memory
from atom.memory.testing import FaultyColdStore
from atom.memory.tiers import to_warm
from atom.retrieval.testing import WordEmbedder
from atom.settings import MemorySettings
from tests.conftest import TEMPLATE, Cluster
from tests.memory.conftest import AGENTS, Bench, agent_in
from tests.support.crash_embedding import KILLED, NEXT
from tests.support.databases import sessions_on
from tests.support.processes import environment

ALL = os.environ.get("CRASH_POINTS") == "all"
POINTS = 5  # of all of them, in the sample, beside those of commits
SEGMENTS = 20
LEXEMES = "SELECT id, lexemes::text, terms FROM episode_segment ORDER BY id"
LACKING = """
    SELECT count(*) FROM episode_segment s
    WHERE NOT EXISTS (SELECT FROM episode_vector v WHERE v.segment_id = s.id AND v.model = 'words-2')
"""
# At any time each segment has a vector, and each that lacks the new one waits for it, or is still to be looked at.
FORGOTTEN = f"""{LACKING}
    AND NOT EXISTS (SELECT FROM episode_unembedded u WHERE u.segment_id = s.id)
    AND NOT EXISTS (
        SELECT FROM episode_vector_model m WHERE m.model = 'words-2' AND m.current AND s.id > m.looked_until)
    AND EXISTS (SELECT FROM episode_vector_model m WHERE m.model = 'words-2')
"""
BLIND = """
    SELECT count(*) FROM episode_segment s
    WHERE NOT EXISTS (SELECT FROM episode_vector v WHERE v.segment_id = s.id)
"""
TOO_EARLY = f"""
    SELECT count(*) FROM episode_vector_model WHERE model = 'words-2' AND complete_at IS NOT NULL AND ({LACKING}) > 0
"""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A database whose segments have vectors of the former model. `lexemes`: what must stay as it is."""

    cluster: Cluster
    name: str
    lexemes: list[tuple[Any, ...]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def prepared(cluster: Cluster) -> AsyncIterator[Prepared]:
    name = f"reembed_{uuid4().hex[:10]}"
    url = await asyncio.to_thread(cluster.create, name, TEMPLATE)
    async with sessions_on(url) as sessions:
        embedder = WordEmbedder()
        layer = build_memory(
            AGENTS,
            MemorySettings(),
            sessions,
            embedder=embedder,
            registry=CollectorRegistry(),
            clock=SystemClock(),
            cold=(cold := FaultyColdStore()),
        )
        memory = Bench(layer, cold, sessions, embedder, await agent_in(sessions, "worker"))
        for number in range(SEGMENTS // 2):
            written = await memory.remember(f"Ann: number {number}", f"Bob: answer {number}")
            if number % 3 == 0:
                async with unit_of_work(sessions) as session:
                    await to_warm(session, [written.id])
        await memory.embed()
        lexemes = await memory.rows(LEXEMES)
    yield Prepared(cluster, name, lexemes)
    await asyncio.to_thread(cluster.drop, name)


@pytest.fixture(scope="module")
def zygote() -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.crash_embedding"],
        env=environment(None),
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.wait(5)


def embed(zygote: "subprocess.Popen[str]", url: URL, home: Path, kill_at: int) -> int:
    assert zygote.stdin is not None
    assert zygote.stdout is not None
    plain = url.render_as_string(hide_password=False)
    zygote.stdin.write(json.dumps({"url": plain, "home": str(home), "kill_at": kill_at}) + "\n")
    zygote.stdin.flush()
    return int(zygote.stdout.readline())


def faults(prepared: Prepared, url: URL, *, ended: bool) -> list[str]:
    """What is wrong in the database, by an own look at its rows."""
    found = []
    with prepared.cluster.on(url) as admin:

        def one(query: str) -> Any:
            row = admin.execute(query).fetchone()
            return row[0] if row else None

        if admin.execute(LEXEMES).fetchall() != prepared.lexemes:
            found.append("lexemes have changed")
        if one("SELECT to_regclass('episode_vector_model')") is not None:
            found += [f"{one(FORGOTTEN)} segments nobody will embed"] if one(FORGOTTEN) else []
            found += ["complete while vectors are missing"] if one(TOO_EARLY) else []
        found += [f"{one(BLIND)} segments without any vector"] if one(BLIND) else []
        if ended:
            found += _unfinished(admin)
    return found


def _unfinished(admin: "psycopg.Connection[Any]") -> list[str]:
    vectors = admin.execute(
        "SELECT model, vector_dims(embedding), count(*), count(DISTINCT segment_id) FROM episode_vector GROUP BY 1, 2"
    ).fetchall()
    models = admin.execute("SELECT model, current, complete_at IS NOT NULL FROM episode_vector_model").fetchall()
    waiting = admin.execute("SELECT count(*) FROM episode_unembedded").fetchone()
    indexes = admin.execute("SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%hnsw%'").fetchone()
    found = [] if vectors == [("words-2", 32, SEGMENTS, SEGMENTS)] else [f"vectors: {vectors}"]
    found += [] if models == [("words-2", True, True)] else [f"models: {models}"]
    found += [] if (waiting, indexes) == ((0,), (1,)) else [f"waiting {waiting}, indexes {indexes}"]
    return found


def test_the_checker_sees_what_it_is_for(prepared: Prepared) -> None:
    name = f"{prepared.name}_check"
    url = prepared.cluster.create(name, prepared.name)
    try:
        assert faults(prepared, url, ended=False) == []
        with prepared.cluster.on(url) as admin:
            admin.execute("INSERT INTO episode_vector_model VALUES ('words-2', 32, false, NULL, now())")
            admin.execute(
                "DELETE FROM episode_vector WHERE segment_id = (SELECT min(id::text)::uuid FROM episode_segment)"
            )
            admin.execute("UPDATE episode_segment SET lexemes = '' WHERE position = 1")
        told = faults(prepared, url, ended=True)
        assert "lexemes have changed" in told
        assert f"{SEGMENTS} segments nobody will embed" in told
        assert "complete while vectors are missing" in told
        assert "1 segments without any vector" in told
        assert any(line.startswith("vectors:") for line in told)
    finally:
        prepared.cluster.drop(name)


async def test_killed_at_any_point_nothing_is_lost_and_the_next_one_finishes(
    prepared: Prepared, zygote: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    assert NEXT.name == "words-2"

    def play(kill_at: int) -> tuple[int, list[str], list[str]]:
        """How the first one ended, and what was wrong then and at the end."""
        name = f"{prepared.name}_{kill_at}"
        url = prepared.cluster.create(name, prepared.name)
        try:
            code = embed(zygote, url, tmp_path, kill_at)
            between = faults(prepared, url, ended=False)
            ended = embed(zygote, url, tmp_path, 100_000) if kill_at else code
            log = (tmp_path / "embedding.log").read_text()
            assert ended == 0, log
            return code, between, faults(prepared, url, ended=True)
        finally:
            prepared.cluster.drop(name)

    assert await asyncio.to_thread(play, 0) == (0, [], [])
    names = [json.loads(line)["name"] for line in (tmp_path / "points.jsonl").read_text().splitlines()]
    every = range(1, len(names) + 1)
    commits = [no for no in every if "commit" in names[no - 1]]
    sample = {*commits[:: max(1, len(commits) // POINTS)], *every[:: max(1, len(names) // POINTS)]}
    assert len(commits) > 2 * POINTS
    for kill_at in every if ALL else sorted(sample):
        assert await asyncio.to_thread(play, kill_at) == (KILLED, [], []), (kill_at, names[kill_at - 1])
