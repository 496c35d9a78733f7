"""One process of Atom: what each role does, how it starts, and how it stops without losing anything."""

import asyncio
import itertools
import socket
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import URL, text

from atom.infra.db import Sessions, unit_of_work
from atom.llm.testing import ScriptedModel, call
from atom.settings import RunSettings, Settings, WebSettings
from atom.web.server import ALL_ROLES, PortInUseError, Ready, Server, ServerRole, open_socket, supervise, url_of
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from atom.wiring import build
from tests.support.gated import Gate, GatedModel

WEB = frozenset({ServerRole.WEB})
WORKER = frozenset({ServerRole.WORKER})


async def once(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.02)


def with_web(home: Path, **web: Any) -> Settings:
    return settings_for_tests(home, web=WebSettings(port=0, **{"drain_seconds": 5, **web}))


async def lease(sessions: Sessions, run_id: str) -> tuple[Any, ...]:
    async with unit_of_work(sessions) as session:
        query = "SELECT status, lease_owner, crashes FROM agent_execution WHERE id = :id"
        row = (await session.execute(text(query), {"id": run_id})).one()
    return tuple(row)


async def test_web_process_leaves_runs_to_a_worker_process(database: URL, home: Path) -> None:
    settings = settings_for_tests(home)
    async with running_atom(settings, database, roles=WEB) as web:
        await web.agent(tools=["current_time"])
        run = await web.start("worker", "What time is it?")
        assert (await web.http.get("/health/ready")).json()["checks"]["workers"] == "degraded"
        assert (await web.http.get("/health/ready")).status_code == 200
        model = ScriptedModel(call("current_time"), "Late.")
        async with running_atom(settings, database, model, roles=WORKER, token=web.token) as worker:
            assert worker.url == ""
            assert (await web.settled(run["id"]))["answer"] == "Late."


async def test_drain_waits_for_the_reply_while_the_api_answers(database: URL, home: Path, sessions: Sessions) -> None:
    gate = Gate()
    async with running_atom(with_web(home), database, GatedModel(["one ", gate, "two"])) as atom:
        await atom.agent()
        run = await atom.start("worker", "Count.")
        await gate.reached.wait()
        atom.server.leave()
        atom.server.leave()  # harmless
        answer = await atom.http.get("/health/ready")
        assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")
        assert (await atom.http.get("/health/live")).status_code == 200
        later = await atom.start("worker", "This one waits for the next process.")
        gate.open.set()
    assert (await lease(sessions, run["id"]))[:2] == ("completed", None)
    assert (await lease(sessions, later["id"]))[:2] == ("queued", None)


async def test_run_that_does_not_end_in_time_is_handed_over_and_not_torn_away(
    database: URL, home: Path, sessions: Sessions
) -> None:
    gate = Gate()
    settings = with_web(home, drain_seconds=0.2)
    async with running_atom(settings, database, GatedModel(["never ", gate])) as atom:
        await atom.agent()
        run = await atom.start("worker", "Wait.")
        await gate.reached.wait()
    status, owner, crashes = await lease(sessions, run["id"])
    assert (status in {"queued", "running"}, owner, crashes) == (True, None, 0)
    async with running_atom(settings, database, ScriptedModel("Here."), token=atom.token) as again:
        assert (await again.settled(run["id"]))["answer"] == "Here."


async def test_stop_is_quick_when_nothing_runs(database: URL, home: Path) -> None:
    loop = asyncio.get_running_loop()
    async with running_atom(with_web(home, drain_seconds=60), database):
        began = loop.time()
    assert loop.time() - began < 2


async def test_one_off_start_ends_after_it_was_ready(database: URL, home: Path) -> None:
    told = []

    async def ready(found: Ready) -> bool:
        told.append(found)
        return True

    settings = settings_for_tests(home)
    assert await Server(build(settings, database, database), ALL_ROLES, ready).run()
    assert told[0].new_token == (home / "admin-token").read_text().strip()


async def test_what_the_start_raises_ends_the_process_and_frees_its_port(database: URL, home: Path) -> None:
    class BrokeError(Exception):
        pass

    async def ready(_: Ready) -> bool:
        raise BrokeError

    settings = settings_for_tests(home)
    listening = open_socket(settings.web)
    port = listening.getsockname()[1]
    with pytest.raises(BrokeError):
        await Server(build(settings, database, database), ALL_ROLES, ready, listening=listening).run()
    open_socket(WebSettings(port=port)).close()


async def test_stop_during_the_start_does_not_wait_for_it(database: URL, home: Path) -> None:
    """Such as the demonstration, whose model hangs."""
    reached, cancelled = asyncio.Event(), []

    async def ready(_: Ready) -> bool:
        reached.set()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return False

    server = Server(build(settings_for_tests(home), database, database), ALL_ROLES, ready)
    task = asyncio.create_task(server.run())
    await reached.wait()
    server.leave()
    assert await asyncio.wait_for(task, 5)
    assert cancelled == [True]


async def test_web_server_that_dies_ends_the_process(database: URL, home: Path) -> None:
    """A process that looks alive and serves nobody would never be restarted."""
    listening = open_socket(WebSettings(port=0))
    listening.close()

    async def ready(_: Ready) -> bool:
        return False

    server = Server(build(settings_for_tests(home), database, database), ALL_ROLES, ready, listening=listening)
    before = asyncio.all_tasks()
    with pytest.raises((OSError, ValueError)):
        await asyncio.wait_for(server.run(), 10)
    if logins := asyncio.all_tasks() - before:  # a login that was under way goes on to its end, as it must
        await asyncio.wait(logins, timeout=5)


async def test_tasks_of_the_caller_live_as_long_as_the_process(database: URL, home: Path) -> None:
    seen = []

    async def extra(stop: asyncio.Event) -> None:
        seen.append("began")
        await stop.wait()
        seen.append("ended")

    async def ready(_: Ready) -> bool:
        seen.append("ready")
        return True

    await Server(build(settings_for_tests(home), database, database), ALL_ROLES, ready, (extra,)).run()
    assert seen == ["began", "ready", "ended"]


async def test_failing_task_is_started_again_with_growing_pauses() -> None:
    loop = asyncio.get_running_loop()
    stop, at = asyncio.Event(), list[float]()

    async def fails(_: asyncio.Event) -> None:
        at.append(loop.time())
        if len(at) == 4:
            stop.set()
        raise RuntimeError("a bug")

    await asyncio.wait_for(supervise("fails", fails, stop, wait=0.02), 5)
    pauses = [after - before for before, after in itertools.pairwise(at)]
    assert len(pauses) == 3
    assert pauses[0] >= 0.02
    assert pauses[1] >= 0.04
    assert pauses[2] >= 0.08


async def test_task_that_returns_early_is_started_again_without_spinning() -> None:
    stop, began = asyncio.Event(), list[int]()

    async def returns(_: asyncio.Event) -> None:
        began.append(1)
        if len(began) == 3:
            stop.set()

    await asyncio.wait_for(supervise("returns", returns, stop, wait=0.01), 5)
    assert len(began) == 3


def test_port_in_use_and_foreign_address_are_refused_with_the_setting_to_change() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(PortInUseError, match="Address already in use") as caught:
            open_socket(WebSettings(port=taken.getsockname()[1]))
        assert "ATOM_WEB__PORT" in caught.value.hint
        assert not caught.value.retryable
    with pytest.raises(PortInUseError, match=r"Atom cannot listen on 192\.0\.2\.1:0"):
        open_socket(WebSettings(host="192.0.2.1", port=0))


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]")]
)
def test_url_is_one_that_can_be_opened(home: Path, host: str, shown: str) -> None:
    settings = settings_for_tests(home, web=WebSettings(host=host, port=0))
    try:
        listening = open_socket(settings.web)
    except PortInUseError:
        pytest.skip("no IPv6 here")
    with listening:
        assert url_of(settings, listening) == f"http://{shown}:{listening.getsockname()[1]}"


async def test_crashed_handler_does_not_stop_the_queue(database: URL, home: Path) -> None:
    """A run of an agent whose model is not there fails by itself; the next one is worked on."""
    async with running_atom(
        settings_for_tests(home, runs=RunSettings(lease_seconds=2, sweep_seconds=0.2, max_concurrent=1)),
        database,
        ScriptedModel(RuntimeError("a bug"), "Fine."),
    ) as atom:
        await atom.agent()
        assert (await atom.done("worker", "one"))["error"]["code"] == "internal_error"
        assert (await atom.done("worker", "two"))["answer"] == "Fine."


async def test_connection_in_the_middle_of_a_request_is_served_before_the_end(database: URL, home: Path) -> None:
    """An upload that is under way when SIGTERM comes is answered."""
    async with running_atom(with_web(home), database) as atom:
        await atom.agent()
        release = asyncio.Event()
        answer = asyncio.create_task(slow_upload(atom, release))
        await asyncio.sleep(0.2)
        atom.server.leave()
        release.set()
        assert (await answer).status_code == 202


async def test_viewer_of_a_run_is_let_go_when_the_server_stops(database: URL, home: Path) -> None:
    """Nobody waits for him, and the run he watches goes on elsewhere."""
    gate = Gate()
    loop = asyncio.get_running_loop()
    async with running_atom(with_web(home, drain_seconds=0.2), database, GatedModel(["one ", gate])) as atom:
        await atom.agent()
        run = await atom.start("worker", "Wait.")
        await gate.reached.wait()
        async with atom.http.stream("GET", f"/api/runs/{run['id']}/events") as stream:
            lines = stream.aiter_lines()
            while "run.started" not in await anext(lines):
                continue
            began = loop.time()
            atom.server.leave()
            async with asyncio.timeout(5):
                async for _ in lines:
                    continue
    assert loop.time() - began < 5


async def slow_upload(atom: RunningAtom, release: asyncio.Event) -> httpx2.Response:
    async def body() -> Any:
        yield b'{"task": "Say '
        await release.wait()
        yield b'hello."}'

    headers = {"Content-Type": "application/json"}
    return await atom.http.post("/api/agents/worker/runs", content=body(), headers=headers)
