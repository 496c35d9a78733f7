"""A server that can be broken on purpose: a TCP proxy before the real one, on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sqlalchemy import URL


@dataclass(slots=True)
class Proxy:
    """`refuse()`: the server is down. `cut()`: connections are lost now. `freeze()`: nothing moves, nothing ends."""

    host: str
    port: int
    listening: asyncio.Server | None = None
    address: tuple[str, int] = ("127.0.0.1", 0)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _flowing: asyncio.Event = field(default_factory=asyncio.Event)

    async def accept(self) -> None:
        self._flowing.set()
        if self.listening is None:
            self.listening = await asyncio.start_server(self._serve, *self.address)
            self.address = self.listening.sockets[0].getsockname()[:2]

    async def refuse(self) -> None:
        if self.listening is not None:
            self.listening.close()
            self.listening = None
        self.cut()

    def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    def freeze(self) -> None:
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flowing.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        self._writers -= {writer, far_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def proxied(url: URL) -> AsyncIterator[tuple[Proxy, URL]]:
    """The proxy before the server of `url`, and the URL through it."""
    proxy = Proxy(url.host or "", url.port or 5432)
    await proxy.accept()
    try:
        yield proxy, url.set(host=proxy.address[0], port=proxy.address[1])
    finally:
        proxy.thaw()
        await proxy.refuse()
