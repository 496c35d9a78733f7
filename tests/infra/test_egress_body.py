"""A body is bounded on the wire, unpacked, and in the ratio of both."""

import asyncio
import gzip
import random
import zlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.infra.egress_body import MAX_MEMBERS, EgressReplyError, EgressTooLargeError, read_body

LIMIT = 1_000_000


async def chunks(data: bytes, size: int = 4096) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def packed(data: bytes, window_bits: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, window_bits)
    return packer.compress(data) + packer.flush()


@given(st.binary(max_size=5000), st.integers(1, 700), st.sampled_from(["gzip", "x-gzip", "deflate", "raw", "identity"]))
def test_body_comes_back_whatever_the_chunks(data: bytes, size: int, encoding: str) -> None:
    wire = {
        "gzip": gzip.compress(data),
        "x-gzip": gzip.compress(data),
        "deflate": packed(data, zlib.MAX_WBITS),
        "raw": packed(data, -zlib.MAX_WBITS),
        "identity": data,
    }[encoding]
    name = "deflate" if encoding == "raw" else encoding
    assert asyncio.run(read_body(chunks(wire, size), name, limit=LIMIT)) == data


async def test_gzip_of_several_members_is_read_to_its_end() -> None:
    assert await read_body(chunks(gzip.compress(b"one ") + gzip.compress(b"two")), "gzip", limit=LIMIT) == b"one two"


async def test_body_over_the_limit_is_refused_while_it_arrives() -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"x" * 1000

    with pytest.raises(EgressTooLargeError):
        await read_body(endless(), "", limit=10_000)
    assert taken <= 11


async def test_packed_body_that_unpacks_over_the_limit_is_refused() -> None:
    noise = random.Random(1).randbytes(20_000) * 100
    assert len(gzip.compress(noise)) < 100_000
    with pytest.raises(EgressTooLargeError, match="unpacks to more than 1000000 bytes"):
        await read_body(chunks(gzip.compress(noise)), "gzip", limit=LIMIT)


async def test_body_that_unpacks_a_thousandfold_is_refused_far_below_the_limit() -> None:
    bomb = gzip.compress(b"\0" * 40_000_000)
    with pytest.raises(EgressTooLargeError, match="100 times"):
        await read_body(chunks(bomb), "gzip", limit=50_000_000)


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (gzip.compress(b"text" * 1000)[:-9], "gzip"),
        (b"not gzip at all", "gzip"),
        (gzip.compress(b"ok") + b"trailing rubbish", "gzip"),
        (gzip.compress(b"") * (MAX_MEMBERS + 1), "gzip"),
        (b"anything", "br"),
        (gzip.compress(gzip.compress(b"x")), "gzip, gzip"),
        (packed(b"x" * 100, zlib.MAX_WBITS)[:-3], "deflate"),
    ],
)
async def test_body_that_is_not_what_it_says_is_an_error_and_not_a_part(data: bytes, encoding: str) -> None:
    with pytest.raises(EgressReplyError):
        await read_body(chunks(data), encoding, limit=LIMIT)
