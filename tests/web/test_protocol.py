"""A request whose head is too large or too slow, or whose body stops, is hung up on; all others take their time."""

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from atom.settings import WebSettings
from atom.web.protocol import HEAD_BYTES, BoundedHttp
from atom.web.server import open_socket
from tests.support.raw_http import Answer, read_answer, request, send
from tests.support.serving import served_here

SHORT = 0.3


class Impatient(BoundedHttp):
    head_seconds = SHORT
    body_idle_seconds = SHORT


async def echo(asked: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await asked.body())))


async def slow(asked: Request) -> PlainTextResponse:
    await asyncio.sleep(3 * SHORT)
    return PlainTextResponse(str(len(await asked.body())))


async def patient(socket: WebSocket) -> None:
    await socket.accept()
    await asyncio.sleep(3 * SHORT)
    await socket.send_text("still here")
    await socket.close()


APP = Starlette(
    routes=[
        Route("/", echo, methods=["GET", "POST"]),
        Route("/slow", slow, methods=["GET", "POST"]),
        WebSocketRoute("/ws", patient),
    ]
)


@pytest_asyncio.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    async with served_here(APP, Impatient) as address:
        yield address


async def pieces(url: str, *parts: bytes | float) -> Answer:
    """The answer to bytes that come with pauses in between."""
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    try:
        for part in parts:
            if isinstance(part, float):
                await asyncio.sleep(part)
            else:
                writer.write(part)
        async with asyncio.timeout(5):
            return await read_answer(reader)
    except ConnectionError:
        return Answer(0, {}, b"")
    finally:
        writer.close()


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9\r\n\r\n"


@pytest.mark.parametrize("size", [100_000, 1_000_000, 5_000_000])
async def test_a_head_that_is_too_large_is_refused(url: str, size: int) -> None:
    for head in (
        f"GET / HTTP/1.1\r\nHost: x\r\nX-Fill: {'a' * size}\r\n\r\n",
        f"GET /{'a' * size} HTTP/1.1\r\nHost: x\r\n\r\n",
    ):
        assert (await send(url, head.encode())).status in {0, 400}
    many = "".join(f"X-{number}: {'a' * 90}\r\n" for number in range(size // 100))
    assert (await send(url, f"GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n".encode())).status in {0, 400}


async def test_a_head_within_the_bound_is_served(url: str) -> None:
    fill = "a" * (HEAD_BYTES - 200)
    assert (await send(url, request("GET", "/", "Host: x", f"X-Fill: {fill}"))).status == 200


@pytest.mark.parametrize("parts", [(b"",), (b"GET",), (HEAD[:-2],), (HEAD,), (HEAD, b"12345")])
async def test_silence_in_the_middle_of_a_request_ends_it(url: str, parts: tuple[bytes, ...]) -> None:
    began = time.monotonic()
    answer = await pieces(url, *parts)
    assert answer.status == 0
    assert SHORT * 0.9 < time.monotonic() - began < SHORT + 10


async def test_a_head_that_trickles_is_not_patience_without_end(url: str) -> None:
    trickle = [part for byte in b"GET / HTTP/1.1\r\nHost: x\r\n" for part in (bytes([byte]), 0.05)]
    assert (await pieces(url, *trickle)).status == 0


async def test_a_slow_body_that_keeps_coming_is_served(url: str) -> None:
    answer = await pieces(url, HEAD, b"123", SHORT / 2, b"456", SHORT / 2, b"789")
    assert (answer.status, answer.body) == (200, b"9")


async def test_a_slow_answer_is_waited_for(url: str) -> None:
    assert (await send(url, request("GET", "/slow", "Host: x"))).status == 200
    big = b"x" * 500_000  # more than is read before the application asks for it
    assert (await send(url, request("POST", "/slow", "Host: x", body=big))).body == b"500000"


async def test_a_websocket_may_be_silent(url: str) -> None:
    lines = [
        "GET /ws HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", "",
    ]  # fmt: skip
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    writer.write("\r\n".join(lines).encode())
    async with asyncio.timeout(5):
        assert (await read_answer(reader)).status == 101
        assert b"still here" in await reader.read(100)
    writer.close()


async def test_requests_that_are_sent_together_are_all_answered(url: str) -> None:
    one = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n" + b"x" * 20_000
    last = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    writer.write(one * 3 + last)
    async with asyncio.timeout(5):
        said = await reader.read()
    writer.close()
    assert said.count(b"HTTP/1.1 200") == 4


@pytest.mark.skipif(sys.platform != "linux", reason="the option is Linux's")
def test_a_peer_that_takes_nothing_is_let_go_by_the_kernel() -> None:
    """Neither the server nor the application can: what was sent waits in the connection for ever."""
    listening = open_socket(WebSettings(port=0))
    listening.setblocking(True)
    with listening, socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
