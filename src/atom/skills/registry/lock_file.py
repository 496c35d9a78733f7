"""The lock file: which bytes of which skills are in use."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from atom.skills.registry import store

FORMAT = 1


async def lock_file(session: AsyncSession) -> dict[str, Any]:
    """By name; the same for the same state of the registry."""
    return {
        "format": FORMAT,
        "skills": [
            {
                "name": skill.name,
                "version": version.number,
                "digest": version.digest,
                "capabilities_digest": version.capabilities_digest,
                "capabilities": version.capabilities,
            }
            for skill, version in await store.active(session)
        ],
    }
