"""What webhooks need of the parts around them."""

from collections.abc import Mapping
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession


class Sealer(Protocol):
    """Keeps secrets. An envelope opens only for the row it was made for."""

    async def seal(self, session: AsyncSession, id_: UUID, secret: str) -> dict[str, Any]:
        """The envelope; its `kek_id` names the key that wraps it."""
        ...

    async def unseal(self, session: AsyncSession, id_: UUID, envelope: Mapping[str, Any]) -> str:
        """Raises UnavailableError when it does not open now."""
        ...

    async def rewrap(self, session: AsyncSession, id_: UUID, envelope: Mapping[str, Any]) -> dict[str, Any]:
        """The same secret under the key that is current now."""
        ...


class Post(Protocol):
    """The one way out."""

    def check(self, url: str) -> None:
        """Raises an AtomError when this address may not be reached."""
        ...

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the answer. Raises an AtomError when there is none."""
        ...
