"""Redis is asked in its own words, within its time; whatever it says, the caller gets an answer or one clear error."""

import asyncio
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from atom.errors import UnavailableError
from atom.infra.redis import RedisAddress, RedisUrlError, parse_redis_url, ping

CANARY = "hunter2Canary9XyZ"


@asynccontextmanager
async def server(*answers: bytes, hang: bool = False) -> AsyncIterator[tuple[RedisAddress, list[bytes]]]:
    """A Redis that gives these answers to the commands it gets, one each. Yields what it was told."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            count = int((await reader.readuntil(b"\r\n"))[1:])
            words = []
            for _ in range(count):
                size = int((await reader.readuntil(b"\r\n"))[1:])
                words.append((await reader.readexactly(size + 2))[:-2])
            heard.append(b" ".join(words))
            writer.write(answer)
        if hang:
            await reader.read()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield RedisAddress("127.0.0.1", listening.sockets[0].getsockname()[1], False, ""), heard


async def test_pong_is_healthy() -> None:
    async with server(b"+PONG\r\n") as (address, heard):
        await ping(address, 2.0)
    assert heard == [b"PING"]


async def test_password_and_user_are_given_first() -> None:
    async with server(b"+OK\r\n", b"+PONG\r\n") as (address, heard):
        await ping(RedisAddress(address.host, address.port, False, "atom", CANARY), 2.0)
    assert heard == [b"AUTH atom " + CANARY.encode(), b"PING"]


@pytest.mark.parametrize(
    "answers",
    [
        (b"-NOAUTH Authentication required.\r\n",),
        (b"-LOADING Redis is loading the dataset in memory\r\n",),
        (b"HTTP/1.1 400 Bad Request\r\n",),
        (b"+PON",),
        (b"",),
        (b"x" * 200_000,),
    ],
    ids=["no password", "loading", "not redis", "cut", "closed", "endless line"],
)
async def test_any_other_answer_is_unavailable(answers: tuple[bytes, ...]) -> None:
    async with server(*answers) as (address, _):
        with pytest.raises(UnavailableError):
            await ping(address, 2.0)


async def test_wrong_password_is_unavailable_and_not_repeated() -> None:
    async with server(b"-WRONGPASS invalid\r\n", b"-NOAUTH\r\n") as (address, _):
        with pytest.raises(UnavailableError) as caught:
            await ping(RedisAddress(address.host, address.port, False, "", CANARY), 2.0)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


async def test_silence_ends_with_the_timeout() -> None:
    async with server(hang=True) as (address, _):
        began = time.monotonic()
        with pytest.raises(UnavailableError):
            await ping(address, 0.1)
        assert time.monotonic() - began < 10


@pytest.mark.parametrize("host", ["127.0.0.1", "a" * 70 + ".example", "no-such-host.invalid", "x..y"])
async def test_address_where_nobody_is_is_unavailable(host: str) -> None:
    with pytest.raises(UnavailableError):
        await ping(RedisAddress(host, 1, False, ""), 2.0)


async def test_tls_to_a_plain_server_is_unavailable() -> None:
    async with server(b"+PONG\r\n") as (address, _):
        with pytest.raises(UnavailableError):
            await ping(RedisAddress(address.host, address.port, True, ""), 2.0)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("redis://cache", RedisAddress("cache", 6379, False, "")),
        ("redis://cache:6380/2", RedisAddress("cache", 6380, False, "")),
        ("rediss://u:p%40ss@cache/0", RedisAddress("cache", 6379, True, "u", "p@ss")),
        ("redis://:pw@[::1]:7/0", RedisAddress("::1", 7, False, "", "pw")),
    ],
)
def test_url_is_read(text: str, address: RedisAddress) -> None:
    assert parse_redis_url(SecretStr(text)) == address


@pytest.mark.parametrize(
    "text",
    ["", "cache:6379", "http://cache", "redis://", "redis://:pw@", "redis://h:0", "redis://h:x", "redis://h:70000"],
)
def test_malformed_url_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(RedisUrlError, match="REDIS_URL"):
        parse_redis_url(SecretStr(text))


@given(st.text(max_size=10), st.text(max_size=10))
def test_no_refusal_shows_the_password(before: str, after: str) -> None:
    try:
        said = repr(parse_redis_url(SecretStr(f"redis://{before}:{CANARY}{after}@h")))
    except RedisUrlError as error:
        said = "".join(traceback.format_exception(error))
    assert CANARY not in said or f":{CANARY}" not in f":{before}:{CANARY}{after}"
