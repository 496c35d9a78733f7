"""Model calls: the adapter loaded when it is first needed, and tries repeated where that may help."""

import asyncio
import importlib
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import structlog

from atom.kit.clock import Clock
from atom.llm.attempt import Attempt, CompletedCall, OnDelta
from atom.llm.choice import Choice, choose
from atom.llm.errors import ModelError, ModelNotConfiguredError
from atom.llm.metrics import LlmMetrics
from atom.llm.ports import ChatModel, ChatRequest
from atom.llm.retry import wait_before_next
from atom.settings import LlmSettings, Provider

# With initial values, not .bind(): that would freeze whatever logging is set up when this module is imported.
log = structlog.get_logger(service="byok")

Factory = Callable[[], Awaitable[ChatModel]]

ADAPTERS = {
    Provider.OPENAI: "atom.llm.adapters.openai",
    Provider.ANTHROPIC: "atom.llm.adapters.anthropic",
    Provider.LOCAL: "atom.llm.adapters.local",
    Provider.SCRIPTED: "atom.llm.adapters.scripted",
}


def adapter_factories(settings: LlmSettings) -> dict[Provider, Factory]:
    """How each provider is made when it is first used. Its SDK takes up to a second to import: then, in a thread."""

    def factory(name: str) -> Factory:
        async def load() -> ChatModel:
            module = await asyncio.to_thread(importlib.import_module, name)
            model: ChatModel = module.build(settings)
            return model

        return load

    return {provider: factory(name) for provider, name in ADAPTERS.items()}


@dataclass(frozen=True, slots=True)
class LlmService:
    """Calls models. It holds no database connection and needs none."""

    settings: LlmSettings
    factories: Mapping[Provider, Factory]
    metrics: LlmMetrics
    clock: Clock
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random.random
    _models: dict[Provider, ChatModel] = field(init=False, default_factory=dict)
    _loading: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)

    def choose(self, wanted: str | None = None) -> Choice:
        """Raises ModelNotConfiguredError."""
        return choose(self.settings, wanted)

    async def complete(
        self, provider: Provider, request: ChatRequest, on_delta: OnDelta | None = None
    ) -> CompletedCall:
        """The reply, or the last ModelError when no try gave one within `llm.timeout` and `llm.attempts`.

        A later attempt begins its text again at offset 0: it replaces what an earlier one showed.
        """
        model = await self._model(provider)
        began = self.clock.monotonic()

        def attempt(number: int) -> Attempt:
            return Attempt(model, request, on_delta, self.settings, self.metrics, self.clock, number, began)

        for number in range(1, self.settings.attempts):
            try:
                return await attempt(number).run()
            except ModelError as error:
                left = self.settings.timeout - (self.clock.monotonic() - began)
                wait = wait_before_next(error, attempt=number, left=left, jitter=self.jitter())
                if wait is None:
                    raise
            log.info(
                "llm.retrying", provider=provider, model=request.model, attempt=number + 1, wait_seconds=round(wait, 3)
            )
            await self.sleep(wait)
        return await attempt(self.settings.attempts).run()

    async def aclose(self) -> None:
        """Closes what was opened; a later call opens it again."""
        async with self._loading:
            for provider in list(self._models):
                await self._models.pop(provider).aclose()

    async def _model(self, provider: Provider) -> ChatModel:
        async with self._loading:
            if provider not in self._models:
                factory = self.factories.get(provider)
                if factory is None:
                    known = ", ".join(sorted(self.factories))
                    raise ModelNotConfiguredError(f"{provider} is not a provider here.", hint=f"There are: {known}.")
                self._models[provider] = await factory()
                log.info("llm.provider_ready", provider=provider)
            return self._models[provider]
