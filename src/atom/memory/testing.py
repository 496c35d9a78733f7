"""A cold store in memory that fails as real ones do."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from atom.memory.errors import ColdObjectMissingError, ColdStoreUnavailableError


@dataclass(slots=True)
class FaultyColdStore:
    """`full`: nothing can be written. `away`: it answers nothing. `hangs`: it answers no read until `seconds` are over.
    `garbles`: what is read differs in bits. `loses`: what is written is not there. `before_read` comes before each.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    full: bool = False
    away: bool = False
    hangs: bool = False
    garbles: bool = False
    loses: bool = False
    seconds: float = 60.0
    place: str = "memory://cold"
    reads: int = 0
    before_read: Callable[[], Awaitable[None]] | None = None

    async def put(self, path: str, content: bytes) -> None:
        self._present()
        if self.full:
            raise ColdStoreUnavailableError(self.place, "it has no room: OSError")
        if not self.loses:
            self.objects[path] = content

    async def get(self, path: str) -> bytes:
        return await self._found(path)

    async def read(self, path: str, start: int, size: int) -> bytes:
        return (await self._found(path))[start : start + size]

    async def delete(self, path: str) -> None:
        self._present()
        self.objects.pop(path, None)

    async def _found(self, path: str) -> bytes:
        self._present()
        self.reads += 1
        if self.before_read is not None:
            await self.before_read()
        if self.hangs:
            await asyncio.sleep(self.seconds)
            raise ColdStoreUnavailableError(self.place, "it took too long")
        if path not in self.objects:
            raise ColdObjectMissingError(self.place, path)
        content = self.objects[path]
        return bytes(byte ^ 1 for byte in content) if self.garbles else content

    def _present(self) -> None:
        if self.away:
            raise ColdStoreUnavailableError(self.place, "ConnectError")
