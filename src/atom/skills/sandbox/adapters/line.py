"""The connection to one supervisor."""

import asyncio
import os
import signal
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from contextlib import suppress
from dataclasses import dataclass

from atom.skills.sandbox.adapters.keeper import Keeper
from atom.skills.sandbox.supervisor import tree, wire

POLL_SECONDS = 0.005


@dataclass(slots=True)
class Line:
    """`pid` is the supervisor's, once it has said it. `answered`: its reply is here, so it has cleaned up."""

    reader: StreamReader
    writer: StreamWriter
    pid: int = 0
    answered: bool = False

    @classmethod
    async def open(cls, keeper: Keeper) -> "Line":
        """Raises OSError."""
        return cls(*await keeper.connect())

    async def ask(self, request: wire.Request) -> wire.Reply:
        """The reply. Raises EOFError or OSError when the supervisor is gone before it."""
        pid = (await self._receive())["pid"]
        self.pid = pid if isinstance(pid, int) else 0
        self.writer.write(wire.pack(request))
        await self.writer.drain()
        reply = await self._receive()
        self.answered = True
        return reply

    def hang_up(self) -> None:
        """Say no more: the supervisor ends its program. Its reply still comes."""
        with suppress(OSError):
            self.writer.write_eof()

    async def end(self) -> None:
        """Wait until the supervisor is gone."""
        self.hang_up()
        with suppress(OSError):
            while await self.reader.read(1 << 16):
                continue

    def kill(self) -> None:
        """End the supervisor by force; what it watched over is an orphan then."""
        with suppress(ProcessLookupError):
            if self.pid:
                os.kill(self.pid, signal.SIGKILL)

    async def gone(self) -> None:
        """Wait until the supervisor holds nothing: its end of the connection is closed before its lease is free."""
        while self.pid:
            if not tree.holds(self.pid):
                return
            await asyncio.sleep(POLL_SECONDS)

    def close(self) -> None:
        self.writer.close()

    async def _receive(self) -> dict[str, object]:
        try:
            length = int.from_bytes(await self.reader.readexactly(wire.LENGTH), "little")
            return wire.unpack(await self.reader.readexactly(length))
        except IncompleteReadError:
            raise EOFError from None
