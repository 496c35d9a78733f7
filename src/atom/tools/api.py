"""REST: the tools that can be granted."""

from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission
from atom.tools.registry import ToolRegistry


class ToolOut(BaseModel):
    name: str
    description: str
    risk: int
    effect: str
    egress: bool
    timeout: float
    parameters: dict[str, Any]


class ToolPage(BaseModel):
    items: list[ToolOut]
    next: str | None = None


def routes(registry: ToolRegistry, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/tools", tags=["agents"], route_class=GuardedRoute)

    @router.get("", dependencies=[Depends(guard.requires(Permission.AGENTS_READ))])
    async def list_tools() -> ToolPage:
        """All of them: the registry is small and fixed while the process runs."""
        tools = [registry.get(name) for name in registry.names]
        return ToolPage(
            items=[
                ToolOut(
                    name=tool.name,
                    description=tool.description,
                    risk=int(tool.action.risk),
                    effect=tool.action.effect.value,
                    egress=tool.action.egress,
                    timeout=tool.timeout,
                    parameters=dict(tool.parameters),
                )
                for tool in tools
            ]
        )

    return router
