"""A response body with a bound on what comes over the wire, on what it unpacks to, and on the ratio of the two."""

import zlib
from collections.abc import AsyncIterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from atom.errors import TooLargeError, UnavailableError

MAX_RATIO = 100
RATIO_FREE_BYTES = 262_144  # a small page of repeated text may well unpack to more than a hundredfold
CHUNK_BYTES = 65_536
MAX_MEMBERS = 64


class EgressTooLargeError(TooLargeError):
    """The body, packed or unpacked, is over the limit."""

    code = "egress_too_large"


class EgressReplyError(UnavailableError):
    """The server answered with something that is not a well-formed reply."""

    code = "egress_bad_reply"
    retryable = False


class Inflater(Protocol):
    """The part of `zlib.decompressobj()` that is used; its class has no public name."""

    @property
    def eof(self) -> bool: ...

    @property
    def unconsumed_tail(self) -> bytes: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes: ...


async def read_body(stream: AsyncIterable[bytes], encoding: str, *, limit: int) -> bytes:
    """The unpacked body. Raises EgressTooLargeError, or EgressReplyError for a body that is not what it says."""
    unpacker = _unpacker(encoding)
    body = bytearray()
    received = 0
    async for chunk in stream:
        received += len(chunk)
        if received > limit:
            raise EgressTooLargeError(f"The reply has more than {limit} bytes.")
        for piece in unpacker.unpack(chunk):
            body += piece
            _check_size(len(body), received, limit)
    if not unpacker.finished:
        raise EgressReplyError("The compressed reply ends too early.")
    return bytes(body)


def _check_size(unpacked: int, received: int, limit: int) -> None:
    if unpacked > limit:
        raise EgressTooLargeError(f"The reply unpacks to more than {limit} bytes.")
    if unpacked > RATIO_FREE_BYTES and unpacked > received * MAX_RATIO:
        raise EgressTooLargeError(f"The reply unpacks to more than {MAX_RATIO} times its size.")


class _Unpacker(Protocol):
    @property
    def finished(self) -> bool: ...

    def unpack(self, chunk: bytes) -> Iterator[bytes]: ...


class _Plain:
    finished = True

    def unpack(self, chunk: bytes) -> Iterator[bytes]:
        yield chunk


@dataclass(slots=True)
class _Zlib:
    """gzip (also of several members) or deflate, in pieces of at most CHUNK_BYTES."""

    window_bits: int
    members: int = 0
    inflater: Inflater | None = field(default=None)

    @property
    def finished(self) -> bool:
        return self.inflater is None or self.inflater.eof

    def unpack(self, chunk: bytes) -> Iterator[bytes]:
        try:
            yield from self._pieces(chunk)
        except zlib.error as error:
            raise EgressReplyError("The compressed reply is damaged.") from error

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self.inflater is None or self.inflater.eof:
                self.inflater = self._next_member(data)
            yield self.inflater.decompress(data, CHUNK_BYTES)
            data = self.inflater.unused_data if self.inflater.eof else self.inflater.unconsumed_tail

    def _next_member(self, data: bytes) -> Inflater:
        self.members += 1
        if self.members > MAX_MEMBERS:
            raise EgressReplyError("The compressed reply has too many parts.")
        raw_deflate = self.window_bits == zlib.MAX_WBITS and data[0] & 0x0F != 8  # servers send both under one name
        return zlib.decompressobj(-zlib.MAX_WBITS if raw_deflate else self.window_bits)


def _unpacker(encoding: str) -> _Unpacker:
    match encoding.strip().lower():
        case "" | "identity":
            return _Plain()
        case "gzip" | "x-gzip":
            return _Zlib(zlib.MAX_WBITS | 16)
        case "deflate":
            return _Zlib(zlib.MAX_WBITS)
    raise EgressReplyError("The reply is compressed in a way that was not asked for.")
