"""Bytes from one side to the other, counted, and not for ever."""

import asyncio
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field

from atom.skills.sandbox.egress.bounds import Bounds
from atom.skills.sandbox.egress.hello import Greeting
from atom.skills.sandbox.egress.journal import Journal, Visit
from atom.skills.sandbox.egress.refusal import Refused, malformed

READ = 65_536
MOST_CHUNK_LINE = 256


class _GoneError(Exception):
    """The program has closed its side for good, as it may at any time."""


@dataclass(slots=True)
class Relay:
    """`program` and `host` are the two sides."""

    program: tuple[StreamReader, StreamWriter]
    host: tuple[StreamReader, StreamWriter]
    journal: Journal
    visit: Visit
    bounds: Bounds
    moved_at: float = field(default_factory=time.monotonic)

    async def tunnel(self, greeting: Greeting, first: bytes) -> None:
        """Both ways until the host has ended. `first` is what the program sent already; `greeting` has seen it."""
        await self._together(self._watched(greeting, first))

    async def exchange(self, head: bytes, length: int | None) -> None:
        """One request, whose body has `length` bytes (None: chunks), and all that the host answers."""
        await self._together(self._request(head, length))

    async def _together(self, sending: Coroutine[None, None, None]) -> None:
        """Until the host has ended, or either direction fails."""
        up, down = asyncio.create_task(sending), asyncio.create_task(self._down())
        try:
            done, _ = await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await down
        except _GoneError:
            return
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)

    async def _down(self) -> None:
        while part := await self._read(self.host[0]):
            self.journal.spend(len(part))
            self.visit.received += len(part)
            try:
                await self._write(self.program[1], part)
            except ConnectionError:
                raise _GoneError from None
        with suppress(OSError):
            self.program[1].write_eof()

    async def _watched(self, greeting: Greeting, first: bytes) -> None:
        part = first
        while part:
            await self._up(part)
            part = await self._from_program()
            greeting.feed(part)
        with suppress(OSError):
            self.host[1].write_eof()

    async def _request(self, head: bytes, length: int | None) -> None:
        await self._up(head)
        if length is None:
            async for chunk in self._chunks():
                await self._up(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await self._up(b"0\r\n\r\n")
            return
        while length:
            part = await self._from_program(min(READ, length))
            if not part:
                raise malformed("The body of the request ended too early.")
            length -= len(part)
            await self._up(part)

    async def _chunks(self) -> AsyncIterator[bytes]:
        """The body of a request, in pieces. It is read to its very end: what follows is no second request."""
        while size := _size(await self._line()):
            while size:
                part = await self._from_program(min(READ, size))
                if not part:
                    raise malformed("A chunk ended too early.")
                size -= len(part)
                yield part
            if await self._line():
                raise malformed("A chunk is longer than it says.")
        # Trailers are not read: nothing after the last chunk goes anywhere.

    async def _line(self) -> bytes:
        async with asyncio.timeout(self.bounds.idle_seconds):
            line = await self.program[0].readuntil(b"\r\n")
        if len(line) > MOST_CHUNK_LINE:
            raise malformed("The line of a chunk is too long.")
        return line.removesuffix(b"\r\n")

    async def _up(self, part: bytes) -> None:
        self.journal.spend(len(part))
        self.visit.sent += len(part)
        with suppress(ConnectionError):  # what the host says, or that it is gone, is seen on its side
            await self._write(self.host[1], part)

    async def _from_program(self, most: int = READ) -> bytes:
        try:
            return await self._read(self.program[0], most)
        except ConnectionError:
            raise _GoneError from None

    async def _read(self, reader: StreamReader, most: int = READ) -> bytes:
        """Waits as long as the other direction moves."""
        while True:
            left = self.moved_at + self.bounds.idle_seconds - time.monotonic()
            if left <= 0:
                raise Refused("idle", "Nothing was sent for too long.")
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    part = await reader.read(most)
                self.moved_at = time.monotonic()
                return part

    async def _write(self, writer: StreamWriter, part: bytes) -> None:
        writer.write(part)
        try:
            async with asyncio.timeout(self.bounds.idle_seconds):
                await writer.drain()
        except TimeoutError:
            raise Refused("idle", "Nothing was taken for too long.") from None
        self.moved_at = time.monotonic()


def _size(line: bytes) -> int:
    """Of a chunk. Extensions are not passed on, and not understood."""
    digits = line.split(b";", 1)[0].rstrip(b" \t")
    if not 1 <= len(digits) <= 12 or digits.strip(b"0123456789abcdefABCDEF"):
        raise malformed("The size of a chunk is not a number.")
    return int(digits, 16)
