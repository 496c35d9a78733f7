"""Loaded by pytest in a campaign (`-p`): looks for the planted canaries in all that the tests leave.

Needs `PLANT_SEED`; `PLANT_REPORT` is the file that the findings are written to. A canary that is found fails the run.
What is looked at: what each test printed and logged, and what its commands did; each database before it is dropped,
and those of homes when the home goes; each Redis before it is killed; every answer over HTTP; every registry of
metrics, and /metrics of each Atom that serves; every file in a folder that a test made.

What may hold a key, and is left out:
- a provider's answer to a request that brought that key: Atom has shown it to the provider, who may say it again;
- the files of a PostgreSQL: they hold what its dump holds, which is looked at (and the files, when it will not start);
- what a websocket carries: it comes from the tables of events, which are looked at;
- installed packages, and files above 64 MiB (the weights of models): nobody writes to them. Those are counted.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from atom.errors import AtomError
from atom.infra.embedded_postgres import EmbeddedPostgres, read_endpoint
from atom.infra.postgres_errors import HomeInUseError
from tests.support import departures
from tests.support.canaries import Scanner
from tests.support.canary_taps import Taps
from tests.support.dumps import everything_in, rows_of
from tests.support.planted import PLANTED

PACKAGES = {"site-packages", ".venv", "node_modules"}
LARGE = 64 * 2**20
LOGS = {".log", ".out", ".jsonl"}
WATCH = pytest.StashKey["Watch"]()


@dataclass(slots=True)
class Watch:
    """`kinds` counts places and bytes, `tables` the rows of each, `used` how often a canary was made use of."""

    scanner: Scanner = field(default_factory=lambda: Scanner(PLANTED.values()))
    kinds: dict[str, Counter[str]] = field(default_factory=dict)
    tables: Counter[str] = field(default_factory=Counter)
    used: Counter[str] = field(default_factory=Counter)
    unread: list[str] = field(default_factory=list)
    test: str = ""

    def see(self, kind: str, place: str, found: str | bytes) -> None:
        self.scanner.scan(f"{kind}: {place} [{self.test}]", found)
        count = self.kinds.setdefault(kind, Counter())
        count["places"] += 1
        count["bytes"] += len(found)

    def holds(self, text: str) -> bool:
        """Whether this is one of them, or has one in it; notes that it was made use of."""
        found = [name for name, canary in PLANTED.items() if canary.secret in text]
        self.used.update(found)
        return bool(found)

    def database(self, url: str) -> None:
        name = psycopg.conninfo.conninfo_to_dict(url).get("dbname", "")
        try:
            for table, count, rows in rows_of(url):
                self.tables[table] += count
                self.see("database", f"table {table} of {name}", rows)
        except psycopg.Error as error:  # a test may leave a database that nobody can read
            self.unread.append(f"database {name}: {error} [{self.test}]")

    def redis(self, url: str) -> None:
        try:
            self.see("Redis", url, everything_in(url))
        except redis.RedisError as error:
            self.unread.append(f"Redis {url}: {error} [{self.test}]")

    def metrics(self, registry: CollectorRegistry) -> None:
        try:
            self.see("metrics", "registry", generate_latest(registry))
        except Exception as error:  # noqa: BLE001  a collector may ask what the test has broken
            self.unread.append(f"metrics: {error!r} [{self.test}]")

    def folder(self, folder: Path) -> None:
        apart = [home / "postgres" / "data" for home in homes(folder) if self._dumped(home)]
        for path in walk(folder, apart):
            self.see("names of files", "path", str(path.relative_to(folder)))
            if path.is_file() and not path.is_symlink():
                self._file(path, folder)

    def _file(self, path: Path, folder: Path) -> None:
        try:
            if path.stat().st_size > LARGE:
                self.unread.append(f"file {path}: large [{self.test}]")
                return
            found = path.read_bytes()
        except OSError as error:  # a process that still runs may take it away
            self.unread.append(f"file {path}: {error} [{self.test}]")
            return
        self.see("log files" if path.suffix in LOGS else "files", str(path.relative_to(folder)), found)

    def _dumped(self, home: Path) -> bool:
        """Every database of a home, started for it when nothing runs there."""
        server = EmbeddedPostgres(home)
        try:
            server.start()
            endpoint: Any = server.endpoint
        except HomeInUseError:
            endpoint = read_endpoint(home)
        except AtomError as error:
            self.unread.append(f"database of {home.name}: {error} [{self.test}]")
            return False
        try:
            self._databases(endpoint.admin_url.get_secret_value())
        except psycopg.Error as error:
            self.unread.append(f"database of {home.name}: {error} [{self.test}]")
            return False
        finally:
            server.stop()
        return True

    def _databases(self, url: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            found = connection.execute("SELECT datname FROM pg_database WHERE datallowconn").fetchall()
        for (name,) in found:
            if name not in {"template1", "postgres"}:
                self.database(psycopg.conninfo.make_conninfo(url, dbname=name))

    def report(self) -> dict[str, Any]:
        leaks = sorted({str(leak) for leak in self.scanner.leaks})
        kinds = {kind: dict(count) for kind, count in self.kinds.items()}
        return {
            "kinds": kinds, "tables": dict(self.tables), "used": dict(self.used), "leaks": leaks, "unread": self.unread
        }  # fmt: skip


def homes(folder: Path) -> Iterator[Path]:
    for place in sorted(folder.rglob("postgres/endpoint.json")):
        yield place.parent.parent


def walk(folder: Path, apart: list[Path]) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in PACKAGES and Path(root, name) not in apart)
        yield from (Path(root, name) for name in [*folders, *sorted(files)])


def pytest_configure(config: pytest.Config) -> None:
    if not PLANTED:
        raise pytest.UsageError("canary_watch: PLANT_SEED is not set, so that no canary is planted.")
    watch = config.stash[WATCH] = Watch()
    taps = Taps(watch)
    taps.open()
    config.add_cleanup(taps.close)
    config.pluginmanager.register(Hooks(watch, taps))
    departures.DATABASE.append(watch.database)
    departures.REDIS.append(watch.redis)
    departures.PROCESS.append(taps.ask)


@dataclass(eq=False, slots=True)
class Hooks:
    watch: Watch
    taps: Taps

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self.watch.test = item.nodeid

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, nextitem: pytest.Item | None) -> None:
        """Before the fixtures take down what they made."""
        whole = nextitem is None
        for registry in self.taps.registries(all_of_them=whole):
            self.watch.metrics(registry)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for title, text in report.sections:
            self.watch.see("output of tests", re.sub(r"^Captured ", "", title), text)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.watch.test = "the end"
        self.watch.metrics(REGISTRY)
        factory: pytest.TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined]
        self.watch.folder(factory.getbasetemp())
        found = self.watch.report()
        if "PLANT_REPORT" in os.environ:
            path = Path(os.environ["PLANT_REPORT"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        if found["leaks"]:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        found = self.watch.report()
        terminalreporter.section("canaries")
        for kind, count in sorted(found["kinds"].items()):
            terminalreporter.write_line(f"{kind}: {count['places']} places, {count['bytes']} bytes")
        said = f"{len(found['tables'])} tables, {len(found['used'])} of {len(PLANTED)} canaries used"
        terminalreporter.write_line(f"{said}, {len(found['unread'])} places not read, {len(found['leaks'])} leaks")
        for line in [*found["leaks"][:50], *(f"not read: {one[:300]}" for one in found["unread"][:20])]:
            terminalreporter.write_line(line)
