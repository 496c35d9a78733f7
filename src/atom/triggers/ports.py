"""What triggers need of others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a task came from. `kind` is as runs keep it."""

    kind: str
    trigger_id: UUID | None = None
    firing_id: UUID | None = None


class Presence(Protocol):
    """Whether an operator is there who could step in."""

    async def present(self, session: AsyncSession) -> bool: ...


class Secrets(Protocol):
    """Keeps the secrets of webhooks. `version` counts those that one trigger has had."""

    async def seal(self, session: AsyncSession, trigger_id: UUID, version: int, secret: str) -> dict[str, Any]:
        """An envelope that names its key-encryption key as `kek_id`."""
        ...

    async def unseal(
        self, session: AsyncSession, trigger_id: UUID, version: int, envelope: Mapping[str, Any]
    ) -> str: ...
