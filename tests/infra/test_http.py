"""The client for trusted endpoints has a bound on everything and takes nothing from the environment."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest

from atom.infra.http import BoundedTransport, ReplyTooLargeError, trusted_client


async def test_every_wait_is_bounded() -> None:
    async with trusted_client(read_seconds=7.0, connect_seconds=2.0) as client:
        assert client.timeout.as_dict() == {"connect": 2.0, "read": 7.0, "write": 7.0, "pool": 5.0}
        assert not client.follow_redirects


async def test_environment_proxy_and_netrc_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with trusted_client(read_seconds=2.0, base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/v1/models")).status_code == 204
    assert heads[0].startswith(b"GET /v1/models ")


async def test_endless_reply_is_ended() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000

    inner = httpx2.MockTransport(lambda _: httpx2.Response(200, content=endless()))
    async with httpx2.AsyncClient(transport=BoundedTransport(inner, 10_000)) as client:
        with pytest.raises(ReplyTooLargeError):
            await client.get("http://example.com/")


async def test_reply_within_the_bound_is_whole() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 1000

    inner = httpx2.MockTransport(lambda _: httpx2.Response(200, content=pieces()))
    async with httpx2.AsyncClient(transport=BoundedTransport(inner, 10_000)) as client:
        assert len((await client.get("http://example.com/")).content) == 10_000
