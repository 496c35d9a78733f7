"""What /health/ready says: the contract's body, the truth about each part, in time, and nothing to strangers."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import structlog
from pydantic import SecretStr
from sqlalchemy import URL, make_url, text

from atom import __version__
from atom.infra.database_url import parse_database_url
from atom.infra.db import unit_of_work
from atom.infra.embedded_postgres import EmbeddedPostgres
from atom.kit.clock import FrozenClock
from atom.llm.choice import Choice
from atom.llm.errors import ModelNotConfiguredError
from atom.ops.checks import Check, Health, llm_check
from atom.ops.health import HealthService
from atom.settings import LlmSettings, Provider, RedisSettings, Settings
from atom.web.app import create_app
from atom.web.routes import routers
from atom.web.server import ServerRole
from atom.web.testing import running_atom, settings_for_tests
from atom.wiring import build
from tests.support.raw_http import Answer, request, send
from tests.support.serving import served_here

CHECKS = ["database", "schema", "redis", "llm", "sandbox", "workers", "vault", "memory"]
LIMIT = 2.5
BACK = 5.0


async def ready(url: str) -> tuple[Answer, float]:
    began = time.monotonic()
    return await send(url, request("GET", "/health/ready", "Host: 10.0.0.1")), time.monotonic() - began


def body_of(answer: Answer) -> dict[str, Any]:
    """The body, which has the same form in every state."""
    body: dict[str, Any] = answer.json()
    assert set(body) == {"status", "version", "timestamp", "checks"}
    assert set(body["checks"]) == set(CHECKS)
    assert {body["status"], *body["checks"].values()} <= {"healthy", "degraded", "unhealthy", "disabled"}
    assert body["version"] == __version__
    assert body["timestamp"].endswith("Z")
    assert abs(datetime.fromisoformat(body["timestamp"]).timestamp() - time.time()) < 30
    assert (answer.status == 503) == (body["status"] == "unhealthy")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    return body


async def comes(url: str, condition: Callable[[dict[str, Any]], bool], seconds: float) -> dict[str, Any]:
    """The first body for which `condition` holds."""
    began = time.monotonic()
    while True:
        body = body_of((await ready(url))[0])
        if condition(body):
            return body
        assert time.monotonic() - began < seconds, body
        await asyncio.sleep(0.1)


async def healthy(url: str, seconds: float = BACK) -> dict[str, Any]:
    return await comes(url, lambda body: bool(body["status"] == "healthy"), seconds)


async def test_all_is_well(database: URL, home: Path) -> None:
    async with running_atom(settings_for_tests(home), database) as atom:
        body = await healthy(atom.url)
        assert body["checks"] == {
            "database": "healthy", "schema": "healthy", "redis": "disabled", "llm": "healthy",
            "sandbox": "disabled", "workers": "healthy", "vault": "disabled", "memory": "healthy",
        }  # fmt: skip
        live = await send(atom.url, request("GET", "/health/live", "Host: x"))
        assert (live.status, live.json()) == (200, {"status": "healthy", "version": __version__})


async def test_a_database_that_stops_and_comes_back(own: EmbeddedPostgres, home: Path) -> None:
    database = parse_database_url(own.endpoint.url)
    async with running_atom(settings_for_tests(home), database) as atom:
        await healthy(atom.url)
        try:
            with structlog.testing.capture_logs() as logged:
                await asyncio.to_thread(own.stop)
                began = time.monotonic()
                body = await comes(atom.url, lambda body: bool(body["checks"]["database"] == "unhealthy"), LIMIT)
                assert time.monotonic() - began < LIMIT
                for _ in range(5):
                    answer, seconds = await ready(atom.url)
                    body = body_of(answer)
                    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
                    assert seconds < LIMIT
                    assert body["checks"]["schema"] == "unhealthy"
                    refused = await atom.http.get("/api/agents")
                    assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
                    assert refused.headers["retry-after"] == "2"
                    assert not told_in(answer.body + refused.content, database)
                    assert (await send(atom.url, request("GET", "/health/live", "Host: x"))).status == 200
                    assert (await send(atom.url, request("GET", "/metrics", "Host: x"))).status == 200
                    await asyncio.sleep(0.3)
            lost = [line for line in logged if line["event"] == "database connection failed"]
            assert [line["log_level"] for line in lost] == ["error"]
        finally:
            own.start()  # from this thread: the server ends with the thread that started it
        await healthy(atom.url)
        assert (await atom.http.get("/api/agents")).status_code == 200


def told_in(said: bytes, database: URL) -> list[str]:
    """What of the database's address is in an answer to a stranger."""
    secrets = [str(database.password), str(database.port), "psycopg", "127.0.0.1", "postgres", "Traceback", "refused"]
    return [word for word in secrets if word.encode() in said]


@asynccontextmanager
async def frozen(postgres: EmbeddedPostgres) -> AsyncIterator[None]:
    """Every process of the server stands still: connections stay open and nothing answers."""
    pid = int((postgres.data_dir / "postmaster.pid").read_text().split()[0])
    postmaster = psutil.Process(pid)
    stopped = [postmaster, *postmaster.children(recursive=True)]
    for process in stopped:
        process.suspend()
    try:
        yield
    finally:
        for process in stopped:
            with suppress(psutil.NoSuchProcess):  # a backend whose client had left ends as soon as another lets it
                process.resume()


async def test_a_database_that_hangs_does_not_hang_the_probe(own: EmbeddedPostgres, home: Path) -> None:
    async with running_atom(settings_for_tests(home), parse_database_url(own.endpoint.url)) as atom:
        await healthy(atom.url)
        async with frozen(own):
            await asyncio.sleep(1.0)  # let the answer of before run out
            for _ in range(6):
                answer, seconds = await ready(atom.url)
                assert seconds < LIMIT
                assert (answer.status, body_of(answer)["checks"]["database"]) == (503, "unhealthy")
                assert (await send(atom.url, request("GET", "/health/live", "Host: x"))).status == 200
                await asyncio.sleep(0.2)
        await healthy(atom.url)


@asynccontextmanager
async def only_web(settings: Settings, database: URL) -> AsyncIterator[str]:
    """The API alone, without its background tasks: for databases it could not even start with."""
    atom = build(settings, database, database)
    async with served_here(create_app(routers(settings, atom.parts), settings.web)) as url:
        yield url
    await atom.aclose()


@asynccontextmanager
async def black_hole() -> AsyncIterator[int]:
    """A port that takes connections and says nothing."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_a_database_that_takes_connections_and_says_nothing(home: Path) -> None:
    async with black_hole() as port:
        database = make_url(f"postgresql+psycopg://atom:secret-word@127.0.0.1:{port}/atom")
        async with only_web(settings_for_tests(home), database) as url:
            for _ in range(5):
                answer, seconds = await ready(url)
                assert seconds < LIMIT
                assert body_of(answer)["checks"]["database"] == "unhealthy"
                assert not told_in(answer.body, database)
                await asyncio.sleep(0.3)


WRONG: dict[str, Callable[[URL], URL]] = {
    "password": lambda url: url.set(password="wrong"),
    "role": lambda url: url.set(username="nobody"),
    "database": lambda url: url.set(database="none"),
    "host": lambda url: url.set(host="no-such-host.invalid"),
    "port": lambda url: url.set(port=64_999),
}


@pytest.mark.parametrize("what", WRONG)
async def test_a_database_that_does_not_let_us_in(database: URL, home: Path, what: str) -> None:
    wrong = WRONG[what](database)
    async with only_web(settings_for_tests(home), wrong) as url:
        answer, seconds = await ready(url)
        assert seconds < LIMIT
        assert (answer.status, body_of(answer)["checks"]["database"]) == (503, "unhealthy")
        assert not told_in(answer.body, wrong)


@pytest.mark.parametrize("change", ["UPDATE alembic_version SET version_num = '9999'", "DROP TABLE alembic_version"])
async def test_a_schema_of_another_version_gets_no_traffic(database: URL, home: Path, change: str) -> None:
    async with running_atom(settings_for_tests(home), database) as atom:
        await healthy(atom.url)
        async with unit_of_work(atom.atom.parts.base.sessions) as session:
            await session.execute(text(change))
        body = await comes(atom.url, lambda body: bool(body["status"] == "unhealthy"), LIMIT)
        assert (body["checks"]["database"], body["checks"]["schema"]) == ("healthy", "unhealthy")


async def test_a_process_that_drains_gets_no_traffic_at_once(database: URL, home: Path) -> None:
    async with running_atom(settings_for_tests(home), database) as atom:
        await healthy(atom.url)
        atom.atom.parts.health.drain()
        answer, _ = await ready(atom.url)
        body = body_of(answer)
        assert (answer.status, body["status"]) == (503, "unhealthy")
        assert answer.headers["x-atom-draining"] == "true"
        assert "unhealthy" not in body["checks"].values(), "no part is to blame"


async def test_without_a_worker_the_rest_is_served(database: URL, home: Path) -> None:
    async with running_atom(settings_for_tests(home), database, roles=frozenset({ServerRole.WEB})) as atom:
        answer, _ = await ready(atom.url)
        body = body_of(answer)
        assert (answer.status, body["status"], body["checks"]["workers"]) == (200, "degraded", "degraded")


async def test_a_full_pool_of_the_requests_is_not_a_dead_database(database: URL, home: Path) -> None:
    async with running_atom(settings_for_tests(home), database) as atom:
        await healthy(atom.url)
        engine = atom.atom.parts.base.engine
        held: list[Any] = []
        try:
            while len(held) < 10 and (connection := await _taken(engine)) is not None:
                held.append(connection)
            await asyncio.sleep(1.0)
            answer, seconds = await ready(atom.url)
            assert (body_of(answer)["checks"]["database"], seconds < LIMIT) == ("healthy", True)
        finally:
            for connection in held:
                await connection.close()


async def _taken(engine: Any) -> Any:
    try:
        return await asyncio.wait_for(engine.connect(), 0.5)
    except TimeoutError:
        return None


@dataclass(slots=True)
class Resp:
    """A very small Redis: `answer` to PING, or silence."""

    answer: bytes | None = b"+PONG\r\n"
    asked: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            self.asked.append(data)
            if self.answer is not None:
                writer.write(self.answer)
        writer.close()


async def test_redis_lost_is_slower_and_never_wrong(database: URL, home: Path) -> None:
    resp = Resp()
    server = await asyncio.start_server(resp.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    redis = RedisSettings(url=SecretStr(f"redis://:canary-word@127.0.0.1:{port}/0"))
    async with server, running_atom(settings_for_tests(home, redis=redis), database) as atom:

        async def redis_is(state: str) -> None:
            body = await comes(atom.url, lambda body: bool(body["checks"]["redis"] == state), LIMIT + 1)
            assert body["status"] == ("healthy" if state == "healthy" else "degraded")
            assert (await ready(atom.url))[0].status == 200

        resp.answer = b"+OK\r\n+PONG\r\n"
        await redis_is("healthy")
        assert any(b"AUTH" in asked for asked in resp.asked)
        for answer in (b"-NOAUTH Authentication required.\r\n", b"-LOADING\r\n", b"x" * 200_000, None):
            resp.answer = answer
            await redis_is("degraded")
            assert b"canary-word" not in (await ready(atom.url))[0].body
        resp.answer = b"+OK\r\n+PONG\r\n"
        await redis_is("healthy")
        server.close()
        await redis_is("degraded")


@pytest.mark.parametrize(
    ("choice", "missing", "state"),
    [
        (Choice(Provider.LOCAL, "m", "r"), None, Health.HEALTHY),
        (Choice(Provider.LOCAL, "m", "r"), "The weights are not installed.", Health.DEGRADED),
        (Choice(Provider.OPENAI, "m", "r"), "The weights are not installed.", Health.HEALTHY),
        (None, None, Health.DEGRADED),
    ],
)
async def test_the_model_is_there_when_it_could_answer(
    choice: Choice | None, missing: str | None, state: Health
) -> None:
    def choose() -> Choice:
        if choice is None:
            raise ModelNotConfiguredError("No key.")
        return choice

    assert await llm_check(choose, lambda: missing).probe() is state


async def test_the_model_is_not_there_while_every_route_is_left_alone() -> None:
    choice = Choice(Provider.OPENAI, "m", "r")
    assert await llm_check(lambda: choice, lambda: None, lambda: True).probe() is Health.DEGRADED
    assert await llm_check(lambda: choice, lambda: None, lambda: False).probe() is Health.HEALTHY


async def test_a_deployment_without_a_model_is_served(database: URL, home: Path) -> None:
    async with running_atom(settings_for_tests(home, llm=LlmSettings(provider=Provider.OPENAI)), database) as atom:
        answer, _ = await ready(atom.url)
        assert (answer.status, body_of(answer)["checks"]["llm"]) == (200, "degraded")


@dataclass(slots=True)
class Counted:
    """A probe that counts how often it is asked."""

    state: Health = Health.HEALTHY
    asked: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self) -> Health:
        self.asked += 1
        await self.gate.wait()
        return self.state


def service(
    probe: Callable[[], Awaitable[Health]], clock: FrozenClock | None = None, *, critical: bool = True
) -> HealthService:
    return HealthService([Check("database", probe, critical=critical)], "1", clock or FrozenClock())


async def test_a_hundred_askers_cost_one_round_of_probes_a_second() -> None:
    probe, clock = Counted(), FrozenClock()
    health = service(probe, clock)
    asking = [asyncio.create_task(health.report()) for _ in range(100)]
    await asyncio.sleep(0)
    probe.gate.set()
    assert {(await one).ready for one in asking} == {True}
    clock.advance(0.99)
    await health.report()
    assert probe.asked == 1
    clock.advance(0.02)
    await health.report()
    assert probe.asked == 2


async def test_a_probe_that_will_not_end_is_not_waited_for() -> None:
    """As a driver does that waits for its server even when it is cancelled."""

    async def stubborn() -> Health:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(20)
        return Health.HEALTHY

    began = time.monotonic()
    health = HealthService([Check("database", stubborn, critical=True)], "1", FrozenClock(), probe_seconds=0.1)
    report = await health.report()
    assert (report.ready, report.body["checks"]) == (False, {"database": "unhealthy"})
    assert time.monotonic() - began < 10


async def test_a_probe_with_a_bug_is_unhealthy_and_logged() -> None:
    async def broken() -> Health:
        raise ZeroDivisionError

    with structlog.testing.capture_logs() as logged:
        report = await service(broken, critical=False).report()
    assert (report.ready, report.body["status"]) == (True, "degraded")
    assert [line["event"] for line in logged] == ["health.probe_failed"]


@pytest.mark.parametrize(
    ("critical", "state", "is_ready", "status"),
    [
        (True, Health.HEALTHY, True, "healthy"),
        (True, Health.DISABLED, True, "healthy"),
        (True, Health.DEGRADED, True, "degraded"),
        (True, Health.UNHEALTHY, False, "unhealthy"),
        (False, Health.UNHEALTHY, True, "degraded"),
        (False, Health.DEGRADED, True, "degraded"),
        (False, Health.DISABLED, True, "healthy"),
    ],
)
async def test_only_what_is_critical_takes_the_traffic_away(
    critical: bool, state: Health, is_ready: bool, status: str
) -> None:
    async def probe() -> Health:
        return state

    report = await service(probe, critical=critical).report()
    assert (report.ready, report.body["status"]) == (is_ready, status)


METRICS = (
    "atom_memory_usage_bytes", "atom_memory_limit_bytes", "atom_latency_seconds", "atom_db_pool_connections",
    "atom_db_pool_wait_seconds", "atom_db_errors_total", "atom_websocket_connections", "atom_websocket_dropped_total",
    "atom_fenced_writes_total", "atom_build_info",
)  # fmt: skip


async def test_the_contracts_metrics_are_there(database: URL, home: Path) -> None:
    async with running_atom(settings_for_tests(home), database) as atom:
        said = ""
        for path in ("/metrics", "/health/metrics"):
            answer = await send(atom.url, request("GET", path, "Host: x"))
            assert answer.status == 200
            assert answer.headers["content-type"].startswith("text/plain; version=")
            said = answer.body.decode()
            assert [
                name
                for name in METRICS
                if f"\n# TYPE {name.removesuffix('_total')}" not in said.replace("_total ", " ")
            ] == []
        values = {
            line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in said.splitlines() if line[0] != "#"
        }
        assert 0 < values["atom_memory_usage_bytes"] < values["atom_memory_limit_bytes"]
        assert values['atom_db_pool_connections{state="limit"}'] == 10
        assert values['atom_websocket_dropped_total{kind="delta"}'] == 0
        assert values["atom_fenced_writes_total"] == 0
        assert str(database.password) not in said


async def test_metrics_can_need_a_permission(database: URL, home: Path) -> None:
    web = settings_for_tests(home).web.model_copy(update={"metrics_public": False})
    async with running_atom(settings_for_tests(home, web=web), database) as atom:
        for path in ("/metrics", "/health/metrics"):
            bare = await send(atom.url, request("GET", path, f"Host: {atom.url.removeprefix('http://')}"))
            assert (bare.status, bare.json()["code"]) == (401, "credential_missing")
            assert (await atom.http.get(path)).status_code == 200
        assert (await ready(atom.url))[0].status == 200
