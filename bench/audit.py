"""What the audit chain costs: audited commits a second by how rows are chained, and how fast a chain is verified.

    .venv/bin/python bench/audit.py [--seconds 4] [--rounds 3] [--json FILE]

The commit is a step's: its run is touched, its event and its audit row are written. pgbench (of the embedded
PostgreSQL, with its ordinary durability) writes with 1, 8 and 64 connections. Rows are chained in four ways, which take
turns, so that a busy machine is busy for all: not at all; by a lock that is taken where the row is written; by a lock
that is taken at COMMIT (what Atom does); and after the commit, by one sealer for all.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from prometheus_client import CollectorRegistry
from sqlalchemy import URL

from atom.governance.audit import store
from atom.governance.audit.anchors import Witness
from atom.governance.audit.layer import build_audit
from atom.governance.audit.verify import Verification
from atom.infra.database_url import parse_database_url
from atom.infra.db import create_engine, create_sessions, unit_of_work
from atom.infra.embedded_postgres import EmbeddedPostgres
from atom.infra.log import configure
from atom.infra.metrics import DatabaseMetrics
from atom.infra.outage import database_outage
from atom.infra.postgres_binaries import find_binaries
from atom.infra.schema import migrate
from atom.kit.clock import SystemClock
from atom.settings import AuditSettings, DatabaseSettings

WRITERS = (1, 8, 64)
VERIFIED = 20_000
TAIL = 1000
WAYS = {
    "no chain": None,
    "chained where it is written": "CREATE TRIGGER audit_entry_chained AFTER INSERT ON audit_entry",
    "chained at COMMIT": "CREATE CONSTRAINT TRIGGER audit_entry_chained AFTER INSERT ON audit_entry"
    " DEFERRABLE INITIALLY DEFERRED",
    "sealed after it": None,
}
AUDIT = """INSERT INTO audit_entry (id, actor, action, decision, reason, agent_id, run_id, data) VALUES
 (gen_random_uuid(), 'bench', 'calculate', 'allow', 'within_maturity', gen_random_uuid(), gen_random_uuid(),
 '{"agent_version": 1, "trigger": "manual", "maturity": "student",
 "digest": "01a20a0d8e8871179c0846edfd98777f01a20a0d8e8871179c0846edfd98777f"}');
"""
STEP = f"""BEGIN;
UPDATE bench_run SET steps = steps + 1 WHERE id = :client_id;
INSERT INTO event (id, type, actor, data, v) VALUES (gen_random_uuid(), 'tool.requested', 'bench', '{{"v": 1}}', 1);
{AUDIT}COMMIT;
"""
SEALED = (
    "SELECT count(audit_link_add(e)) FROM (SELECT * FROM audit_entry a"
    " WHERE NOT EXISTS (SELECT FROM audit_link l WHERE l.entry_id = a.id) LIMIT 1000) e"
)


@dataclass(frozen=True, slots=True)
class Bench:
    url: URL
    folder: Path
    seconds: int

    @property
    def plain(self) -> str:
        return self.url.set(drivername="postgresql").render_as_string(hide_password=False)

    def sql(self, *statements: str) -> None:
        with psycopg.connect(self.plain, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def prepare(self) -> None:
        self.sql(
            "CREATE TABLE bench_run (id int PRIMARY KEY, steps int NOT NULL DEFAULT 0) WITH (fillfactor = 50)",
            "INSERT INTO bench_run (id) SELECT * FROM generate_series(0, 63)",
            "DROP TRIGGER audit_link_append_only ON audit_link",  # the sealer is none of ours
        )

    def chain(self, trigger: str | None) -> None:
        self.sql(
            "DROP TRIGGER IF EXISTS audit_entry_chained ON audit_entry",
            "ALTER TABLE audit_entry DISABLE TRIGGER USER",
            "TRUNCATE audit_entry, audit_link, event",
            "ALTER TABLE audit_entry ENABLE TRIGGER USER",
            *([f"{trigger} FOR EACH ROW EXECUTE FUNCTION audit_entry_chain()"] if trigger else ()),
        )

    def commits(self, script: str, writers: int, *, rate: int = 0, durable: bool = True) -> tuple[float, float]:
        """Commits a second and their mean milliseconds. `rate`: so many are asked for."""
        file = self.folder / "step.sql"
        file.write_text(script, encoding="utf-8")
        command = [str(find_binaries().program("pgbench")), "-n", "-M", "prepared", "-c", str(writers), "-j", "2"]
        command += ["-T", str(self.seconds), "-f", str(file), *(["-R", str(rate)] if rate else []), self.plain]
        options = {} if durable else {"PGOPTIONS": "-c synchronous_commit=off"}
        done = subprocess.run(
            command, env={**os.environ, **options}, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode:
            raise SystemExit(f"pgbench: {done.stderr[-500:]}")
        found = {line.partition("=")[0].strip(): line.partition("=")[2].split() for line in done.stdout.splitlines()}
        return float(found["tps"][0]), float(found["latency average"][0])

    @contextmanager
    def sealer(self) -> Iterator[None]:
        stop = threading.Event()

        def seal() -> None:
            with psycopg.connect(self.plain) as connection:
                while not stop.wait(0.01):
                    connection.execute(SEALED.encode())
                    connection.commit()

        thread = threading.Thread(target=seal)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def writing(bench: Bench, rounds: int) -> list[dict[str, Any]]:
    found: dict[tuple[str, int], list[float]] = {}
    calm: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for way, trigger in WAYS.items():
            for writers in WRITERS:
                bench.chain(trigger)
                if way == "sealed after it":
                    with bench.sealer():
                        rate, _ = bench.commits(STEP, writers)
                else:
                    rate, _ = bench.commits(STEP, writers)
                found.setdefault((way, writers), []).append(rate)
            if way in {"no chain", "chained at COMMIT"}:
                calm.setdefault(way, []).append(bench.commits(STEP, 64, rate=50)[1])
                cpu.setdefault(way, []).append(bench.commits(AUDIT, 1, durable=False)[1])
    rows = [
        row(f"{way}, {writers} writers", statistics.median(rates), "commits/s")
        for (way, writers), rates in found.items()
    ]
    ours = WAYS.keys() & cpu.keys()
    assert len(ours) == 2
    for way, times in calm.items():
        rows.append(row(f"{way}, 50 commits/s from 64", statistics.median(times), "ms"))
    added = 1000 * (statistics.median(cpu["chained at COMMIT"]) - statistics.median(cpu["no chain"]))
    return [*rows, row("chaining one row, without the flush", added, "us", 1000)]


async def verifying(bench: Bench) -> list[dict[str, Any]]:
    bench.chain(WAYS["chained at COMMIT"])
    body = AUDIT.partition("VALUES")[2].strip().rstrip(";")[1:-1]
    head = AUDIT.partition("VALUES")[0]
    bench.sql(f"{head} SELECT {body} FROM generate_series(1, {VERIFIED})")
    engine = create_engine(bench.url, DatabaseSettings(pool_size=2))
    sessions = create_sessions(engine, database_outage(), DatabaseMetrics(CollectorRegistry()))
    began = time.perf_counter()
    verification = Verification(Witness())
    for after in range(0, VERIFIED, 1000):
        async with unit_of_work(sessions) as session:
            rows = await store.chain(session, after, VERIFIED, 1000)
        for one in rows:
            verification.add(one.link)
    report = verification.report()
    seconds = time.perf_counter() - began
    if not report.ok or report.rows != VERIFIED:
        raise SystemExit(f"the chain of the bench is broken: {report.plain()}")
    service = build_audit(sessions, SystemClock(), AuditSettings(), bench.folder).service
    tails = []
    for _ in range(10):
        began = time.perf_counter()
        await service.verify_tail(TAIL)
        tails.append(time.perf_counter() - began)
    await engine.dispose()
    return [
        row("rows verified", VERIFIED / seconds, "rows/s", 5000, better="higher"),
        row(f"verify_tail({TAIL})", 1000 * statistics.median(tails), "ms", 250),
    ]


def row(name: str, value: float, unit: str, goal: float | None = None, *, better: str = "lower") -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "value": round(value, 3), "unit": unit}
    return found if goal is None else {**found, "goal": goal, "better": better}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=4, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the report there")
    options = parser.parse_args()
    configure("warning", None)
    folder = Path(tempfile.mkdtemp(prefix="atom-bench-"))
    folder.chmod(0o711)
    postgres = EmbeddedPostgres(folder)
    try:
        postgres.start()
        url = parse_database_url(postgres.endpoint.url)
        migrate(url)
        bench = Bench(url, folder, options.seconds)
        bench.prepare()
        found = [*writing(bench, options.rounds), *asyncio.run(verifying(bench))]
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
    for one in found:
        print(f"{one['name']:<44} {one['value']:>10.2f} {one['unit']:<10} {one.get('goal', '')}")
    if options.json:
        options.json.write_text(json.dumps({"rows": found}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
