"""What memory needs of the world outside the database."""

from typing import Protocol


class ColdStore(Protocol):
    """Objects by path. Each call ends in a bounded time, and raises ColdStoreUnavailableError where it cannot."""

    @property
    def place(self) -> str:
        """Where it is, for people; without credentials."""
        ...

    async def put(self, path: str, content: bytes) -> None:
        """Whole, and durable once this returns; until then the path has nothing."""
        ...

    async def get(self, path: str) -> bytes:
        """Raises ColdObjectMissingError."""
        ...

    async def read(self, path: str, start: int, size: int) -> bytes:
        """At most `size` bytes from `start`. Raises ColdObjectMissingError."""
        ...

    async def delete(self, path: str) -> None:
        """What is not there is deleted."""
        ...
