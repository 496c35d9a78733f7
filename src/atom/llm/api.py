"""REST: which model answers, and why; what is known of models."""

import asyncio
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from atom.errors import InvalidError
from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission
from atom.llm.choice import FORMS, MODEL_NAME, configured
from atom.llm.notes import note_for
from atom.llm.routes import models_in_use
from atom.llm.service import LlmService
from atom.settings import Provider


class ModelsOut(BaseModel):
    provider: str
    model: str
    reason: str
    note: str | None
    configured: list[str]


class ModelFactsOut(BaseModel):
    """Null is what nobody knows. It is never zero in disguise."""

    provider: Provider
    model: str
    context_tokens: int | None
    tools: bool | None = Field(description="Whether it calls tools.")
    vision: bool | None = Field(description="Whether it reads images.")
    input_usd: Decimal | None = Field(description="Dollars for a million tokens.")
    output_usd: Decimal | None
    cached_usd: Decimal | None


class CatalogueOut(BaseModel):
    items: list[ModelFactsOut]


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

    @router.get("/catalogue", dependencies=[Depends(guard.requires(Permission.MODELS_READ))])
    async def show_catalogue(
        model: Annotated[str | None, Query(max_length=250, description="provider/model; none: all in use.")] = None,
    ) -> CatalogueOut:
        """What is known of models: context, abilities, prices. ATOM_LLM__CATALOGUE_PATH adds to it and corrects it."""
        config = await llm.directory.fresh()
        named = models_in_use(llm.settings, config) if model is None else (_named(model),)
        found = await asyncio.to_thread(lambda: [_facts(llm, *one) for one in named])  # the price list loads slowly
        return CatalogueOut(items=found)

    return router


def _named(text: str) -> tuple[Provider, str]:
    provider, _, model = text.strip().partition("/")
    if provider not in list(Provider) or MODEL_NAME.fullmatch(model) is None:
        raise InvalidError(f"model: {text[:80]!r} is not provider/model.", hint=FORMS, field="model")
    return Provider(provider), model


def _facts(llm: LlmService, provider: Provider, model: str) -> ModelFactsOut:
    return ModelFactsOut(provider=provider, model=model, **llm.catalogue.facts(provider, model).model_dump())
