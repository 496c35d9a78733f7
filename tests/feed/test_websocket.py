"""The feed as a WebSocket: who gets in, what they see, and how each kind of viewer is let go."""

import asyncio
import json
import shutil
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx2
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import URL, text
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from atom.feed import api
from atom.feed.stream import Stream
from atom.feed.viewer import ViewLimits
from atom.infra.db import unit_of_work
from atom.runs.ports import Delta
from atom.web.server import ServerRole
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.support.raw_http import read_answer
from tests.support.serving import served_here
from tests.support.sse import watching

PATH = "/api/social/ws/feed"
SECONDS = 60.0


@asynccontextmanager
async def viewing(url: str, token: str, query: str = "", **options: Any) -> AsyncIterator[ClientConnection]:
    address = f"ws{url.removeprefix('http')}{PATH}{query}"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with connect(address, additional_headers=headers, proxy=None, max_size=None, **options) as socket:
        yield socket


async def frames(viewer: ClientConnection, last: str) -> list[dict[str, Any]]:
    """Envelopes up to and with the first of type `last`."""
    taken: list[dict[str, Any]] = []
    async with asyncio.timeout(SECONDS):
        while not taken or taken[-1]["type"] != last:
            taken.append(json.loads(await viewer.recv()))
    return taken


def opened(atom: RunningAtom) -> float:
    return atom.atom.parts.base.registry.get_sample_value("atom_websocket_connections") or 0


async def until(condition: Any, what: str, seconds: float = 30.0) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, what
        await asyncio.sleep(0.01)


async def key(atom: RunningAtom, role: str = "viewer") -> dict[str, Any]:
    made: dict[str, Any] = (await atom.http.post("/api/tokens", json={"name": uuid4().hex, "role": role})).json()
    return made


async def test_a_credential_comes_in_a_header_or_as_a_subprotocol(shared: RunningAtom) -> None:
    async with viewing(shared.url, shared.token) as viewer:
        assert viewer.subprotocol is None
    offered = [Subprotocol(f"atom.token.{shared.token}")]
    async with viewing(shared.url, "", subprotocols=offered) as viewer:
        assert viewer.subprotocol == offered[0]
        await shared.agent(uuid4().hex)
        assert (await frames(viewer, "agent.created"))[-1]["actor"] == "admin:admin"


@pytest.mark.parametrize(
    ("token", "query", "subprotocols", "code"),
    [
        ("", "", (), "credential_missing"),
        ("x", "", (), "credential_invalid"),
        ("", "", ("atom.token.x",), "credential_invalid"),
        ("", "", ("atom.token.",), "credential_invalid"),
        ("", "", ("atom", "chat"), "credential_missing"),
        ("", "?token={token}", (), "credential_missing"),
        ("{token}", "", ("atom.token.{token}",), "credential_invalid"),
    ],
)
async def test_without_one_valid_credential_the_handshake_is_refused(
    shared: RunningAtom, token: str, query: str, subprotocols: tuple[str, ...], code: str
) -> None:
    offered = [Subprotocol(name.format(token=shared.token)) for name in subprotocols] or None
    with pytest.raises(InvalidStatus) as refused:
        async with viewing(
            shared.url, token.format(token=shared.token), query.format(token=shared.token), subprotocols=offered
        ):
            pytest.fail("it was let in")
    answer = refused.value.response
    assert answer.status_code == 401
    assert json.loads(answer.body or b"")["code"] == code
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.headers["x-request-id"]) == 36


async def test_a_role_without_the_feed_and_a_cursor_that_is_none_are_refused(shared: RunningAtom) -> None:
    for token, query, status, code in (
        ((await key(shared, "agent"))["token"], "", 403, "permission_missing"),
        (shared.token, "?after=x", 422, "invalid_request"),
        (shared.token, f"?after={2**63}", 422, "invalid_request"),
    ):
        with pytest.raises(InvalidStatus) as refused:
            async with viewing(shared.url, token, query):
                pytest.fail("it was let in")
        assert (refused.value.response.status_code, json.loads(refused.value.response.body or b"")["code"]) == (
            status,
            code,
        )


async def test_the_feed_goes_on_from_a_cursor_without_gap_or_repetition(shared: RunningAtom) -> None:
    names = [uuid4().hex for _ in range(5)]
    async with viewing(shared.url, shared.token) as live:
        for name in names:
            await shared.agent(name)
        seen: list[dict[str, Any]] = []
        while len(seen) < len(names):
            seen += [item for item in await frames(live, "agent.created") if item["type"] == "agent.created"]
    assert [item["data"]["name"] for item in seen] == names
    for position in range(len(seen)):
        async with viewing(shared.url, shared.token, f"?after={seen[position]['seq']}") as again:
            rest = [json.loads(await asyncio.wait_for(again.recv(), SECONDS)) for _ in seen[position + 1 :]]
            assert rest == seen[position + 1 :]
    async with viewing(shared.url, shared.token, "?after=0") as whole:
        first = await frames(whole, "agent.created")
        assert first[0]["seq"] <= seen[0]["seq"]


async def test_a_cursor_that_is_ahead_of_everything_is_the_present(shared: RunningAtom) -> None:
    """As after a restore of an older database: new events must not be hidden until their numbers have caught up."""
    async with viewing(shared.url, shared.token, "?after=999999999999") as viewer:
        await shared.agent(uuid4().hex)
        assert (await frames(viewer, "agent.created"))[-1]["type"] == "agent.created"


async def test_a_revoked_key_ends_its_streams_at_once_and_no_others(shared: RunningAtom) -> None:
    made = await key(shared, "operator")
    await shared.agent("watched", tools=["write_file"])
    run = await shared.start("watched", "Wait.")
    headers = {"Authorization": f"Bearer {made['token']}"}
    async with (
        httpx2.AsyncClient(base_url=shared.url, headers=headers, trust_env=False) as http,
        viewing(shared.url, shared.token) as other,
        viewing(shared.url, made["token"]) as viewer,
    ):
        waits = asyncio.create_task(viewer.wait_closed())
        began = time.monotonic()
        assert (await shared.http.delete(f"/api/tokens/{made['id']}")).status_code == 204
        assert (await http.get("/api/agents")).status_code == 401
        async with asyncio.timeout(2):
            await waits
        assert viewer.close_code == 4401
        assert time.monotonic() - began < 2
        await shared.agent(uuid4().hex)
        assert (await frames(other, "agent.created"))[-1]["type"] == "agent.created"
        assert (await http.get(f"/api/runs/{run['id']}/events")).status_code == 401


async def test_a_key_that_is_revoked_at_one_replica_ends_its_streams_at_the_other(database: URL, home: Path) -> None:
    settings = settings_for_tests(home)
    async with (
        running_atom(settings, database) as one,
        running_atom(settings, database, roles=frozenset({ServerRole.WEB}), token=one.token) as other,
    ):
        made = await key(one)
        async with viewing(other.url, made["token"]) as viewer:
            await one.agent("seen-there")
            assert (await frames(viewer, "agent.created"))[-1]["data"]["name"] == "seen-there"
            await one.http.delete(f"/api/tokens/{made['id']}")
            assert (await other.http.get("/api/agents", headers=bearer(made["token"]))).status_code == 401
            async with asyncio.timeout(2):
                await viewer.wait_closed()
            assert viewer.close_code == 4401


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_run_that_is_watched_with_a_revoked_key_is_watched_no_more(database: URL, home: Path) -> None:
    async with running_atom(settings_for_tests(home), database) as atom:
        made = await key(atom, "operator")
        await atom.agent()
        run = await atom.start("worker", "Fail.")
        atom.atom.parts.hub.show(Delta(UUID(run["id"]), "plan", 1, 0, "x"))
        headers = {"Authorization": f"Bearer {made['token']}"}
        async with httpx2.AsyncClient(base_url=atom.url, headers=headers, trust_env=False) as http:
            await atom.settled(run["id"])
            async with unit_of_work(atom.atom.parts.base.sessions) as session:
                await session.execute(text("DELETE FROM event WHERE type = 'run.failed'"))  # as if it went on
            async with asyncio.timeout(SECONDS), watching(http, run["id"]) as items:
                assert (await anext(items)).type == "comment"
                await atom.http.delete(f"/api/tokens/{made['id']}")
                began = time.monotonic()
                async for _ in items:
                    continue
                assert time.monotonic() - began < 2


async def test_a_key_that_expires_ends_its_streams_when_it_is_asked_again(shared: RunningAtom) -> None:
    made = await key(shared)
    async with short_lived(shared, ViewLimits(reauthorise_seconds=0.05)) as url, viewing(url, made["token"]) as viewer:
        await shared.agent(uuid4().hex)
        await frames(viewer, "agent.created")
        async with unit_of_work(shared.atom.parts.base.sessions) as session:
            query = text("UPDATE api_key SET expires_at = now() WHERE id = :id")
            await session.execute(query, {"id": UUID(made["id"])})
        await asyncio.sleep(0.06)
        await shared.agent(uuid4().hex)
        async with asyncio.timeout(2):
            await viewer.wait_closed()
        assert viewer.close_code == 4401


@asynccontextmanager
async def short_lived(shared: RunningAtom, limits: ViewLimits) -> AsyncIterator[str]:
    """The feed of `shared` with limits of its own, on another port."""
    parts = shared.atom.parts
    gauge = Gauge("connections", "Open ones.", registry=CollectorRegistry())
    app = FastAPI()
    app.include_router(
        api.routes(
            Stream(parts.hub, parts.base.reader), parts.runs, parts.base.sessions, parts.guard, gauge, limits=limits
        )
    )
    app.state.gauge = gauge
    async with served_here(app) as url:
        yield url


async def test_a_viewer_that_reads_nothing_is_let_go_and_harms_no_other(shared: RunningAtom) -> None:
    hub = shared.atom.parts.hub
    others = hub.subscribers
    async with short_lived(shared, ViewLimits(send_seconds=0.5)) as url, viewing(url, shared.token) as good:
        stuck = [await not_reading(url, handshake(url, shared.token)) for _ in range(3)]
        await until(lambda: hub.subscribers == others + 4, "all are in")
        run, piece, received = uuid4(), "x" * 10_000, 0
        for number in range(1500):  # 15 MB for each: more than the kernel keeps
            hub.show(Delta(run, "turn-0", 1, number * len(piece), piece))
            while received <= number:
                received += len(json.loads(await asyncio.wait_for(good.recv(), SECONDS))["text"]) // len(piece)
        await until(lambda: hub.subscribers == others + 1, "the stuck ones are let go")
        await shared.agent(uuid4().hex)
        assert (await frames(good, "agent.created"))[-1]["type"] == "agent.created"
        for one in stuck:
            one.close()


async def test_a_viewer_that_fell_behind_gets_every_event_from_the_table(shared: RunningAtom) -> None:
    hub = shared.atom.parts.hub
    async with viewing(shared.url, shared.token) as viewer:
        await until(lambda: hub.subscribers >= 1, "it is in")
        for number in range(3000):  # without a pause: the queue of a viewer holds 1000
            hub.show(Delta(uuid4(), "turn-0", 1, 0, str(number)))
        name = uuid4().hex
        await shared.agent(name)
        taken = await frames(viewer, "agent.created")
        assert taken[-1]["data"]["name"] == name
        assert 0 < len(taken) < 3000
    dropped = shared.atom.parts.base.registry.get_sample_value("atom_websocket_dropped_total", {"kind": "delta"})
    assert dropped is not None
    assert dropped > 1000


async def test_frames_of_a_client_are_dropped_and_too_large_ones_end_it(shared: RunningAtom) -> None:
    await until(lambda: opened(shared) == 0, "those of other tests are out")
    async with viewing(shared.url, shared.token) as good, viewing(shared.url, shared.token) as big:
        for _ in range(2000):
            await good.send("hello")
        await good.send(b"\x00" * 60_000)
        await big.send("x" * 70_000)
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(big.recv(), SECONDS)
        assert big.close_code == 1009
        await shared.agent(uuid4().hex)
        assert (await frames(good, "agent.created"))[-1]["type"] == "agent.created"
        await until(lambda: opened(shared) == 1, "the other is counted out")
    await until(lambda: opened(shared) == 0, "all are counted out")


async def test_two_hundred_viewers_are_all_told(shared: RunningAtom) -> None:
    async with asyncio.timeout(100):
        viewers = [viewing(shared.url, shared.token) for _ in range(200)]
        sockets: list[ClientConnection] = []

        def all_in(count: int) -> bool:
            return shared.atom.parts.hub.subscribers >= count

        for ten in range(0, len(viewers), 10):  # more at once than the pool has connections are told to come later
            sockets += await asyncio.gather(*(one.__aenter__() for one in viewers[ten : ten + 10]))
            await until(partial(all_in, len(sockets)), "all are in")
        pool: Any = shared.atom.parts.base.engine.pool
        await until(lambda: pool.checkedout() == 0, "no connection of the pool is held")
        name = uuid4().hex
        await shared.agent(name)
        told = await asyncio.gather(*(frames(one, "agent.created") for one in sockets))
        assert {items[-1]["data"]["name"] for items in told} == {name}
        await asyncio.gather(*(viewer.__aexit__(None, None, None) for viewer in viewers))
        await until(lambda: opened(shared) == 0, "all are counted out")


async def test_viewers_are_told_to_come_back_when_the_process_drains(database: URL, home: Path) -> None:
    async with running_atom(settings_for_tests(home), database) as atom, viewing(atom.url, atom.token) as viewer:
        await until(lambda: atom.atom.parts.hub.subscribers == 1, "it is in")
        atom.server.leave()
        async with asyncio.timeout(5):
            await viewer.wait_closed()
        assert viewer.close_code == 1012


def handshake(url: str, token: str, *leave_out: str) -> list[str]:
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Authorization": f"Bearer {token}",
    }
    return [f"{name}: {value}" for name, value in headers.items() if name not in leave_out]


async def not_reading(url: str, headers: list[str]) -> socket.socket:
    """A viewer that gets in and then reads nothing."""
    parts = urlsplit(url)
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(plain, (parts.hostname, parts.port))
    lines = [f"GET {PATH} HTTP/1.1", f"Host: {parts.netloc}", *headers, "", ""]
    await loop.sock_sendall(plain, "\r\n".join(lines).encode())
    assert b" 101 " in await asyncio.wait_for(loop.sock_recv(plain, 200), SECONDS)
    return plain


async def curl(*argv: str) -> str:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed")
    process = await asyncio.create_subprocess_exec(
        program, "-s", "-i", "-N", "-m", "2", *argv, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    return said.decode("utf-8", "replace")


async def test_the_guides_curl_is_told_what_is_missing_and_the_corrected_one_gets_in(shared: RunningAtom) -> None:
    address, bearer = f"{shared.url}{PATH}", ["-H", f"Authorization: Bearer {shared.token}"]
    upgrade = ["-H", "Connection: Upgrade", "-H", "Upgrade: websocket"]
    as_written = await curl(*upgrade, address)
    assert " 400 " in as_written.splitlines()[0]
    assert "Sec-WebSocket-Key" in as_written
    plain = await curl(*bearer, address)
    assert " 426 " in plain.splitlines()[0]
    assert "lacks: connection, upgrade, sec-websocket-key, sec-websocket-version" in plain
    assert " 401 " in (await curl(address)).splitlines()[0]
    named = ["-H", "Sec-WebSocket-Version: 13", "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    assert " 101 " in (await curl(*upgrade, *named, *bearer, address)).splitlines()[0]


async def test_a_handshake_that_lacks_something_is_refused_and_not_left_hanging(shared: RunningAtom) -> None:
    parts = urlsplit(shared.url)
    for missing in ("Connection", "Upgrade", "Sec-WebSocket-Version", "Sec-WebSocket-Key"):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        lines = [f"GET {PATH} HTTP/1.1", f"Host: {parts.netloc}", *handshake(shared.url, shared.token, missing), "", ""]
        writer.write("\r\n".join(lines).encode())
        answer = await asyncio.wait_for(read_answer(reader), SECONDS)
        assert answer.status in {400, 426}, missing
        assert missing.lower() in answer.body.decode().lower() or missing == "Upgrade", answer.body
        writer.close()
