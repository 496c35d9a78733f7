"""REST: which model answers, and why."""

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission
from atom.llm.choice import configured
from atom.llm.notes import note_for
from atom.llm.service import LlmService


class ModelsOut(BaseModel):
    provider: str
    model: str
    reason: str
    note: str | None
    configured: list[str]


def routes(llm: LlmService, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/models", tags=["models"], route_class=GuardedRoute)

    @router.get("", dependencies=[Depends(guard.requires(Permission.MODELS_READ))])
    async def show_models() -> ModelsOut:
        config = await llm.directory.fresh()
        chosen = llm.choose()
        return ModelsOut(
            provider=chosen.provider,
            model=chosen.model,
            reason=chosen.reason,
            note=note_for(chosen.provider, llm.settings),
            configured=[provider.value for provider in configured(llm.settings, config.keys)],
        )

    return router
