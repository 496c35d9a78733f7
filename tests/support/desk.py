"""Providers whose answer depends on the key they are asked with, behind the real model layer and a real database."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from atom.infra.db import Sessions, unit_of_work
from atom.kit.clock import SystemClock
from atom.llm.access import Access
from atom.llm.calls import Caller, CompletedCall
from atom.llm.errors import ModelError
from atom.llm.keys.models import ProviderKey
from atom.llm.keys.probe import KeyTester
from atom.llm.keys.service import NewKey, RouteWish
from atom.llm.layer import ModelLayer
from atom.llm.ports import ChatRequest, Completion, TextDelta
from atom.llm.testing import ScriptedModel, ask
from atom.settings import Provider
from tests.support.vaults import BY, name_of, secret_of

Answer = str | type[ModelError]


@dataclass(slots=True)
class DeskModel:
    desk: "Desk"
    access: Access

    @property
    def provider(self) -> str:
        return self.access.provider

    async def stream(self, request: ChatRequest) -> AsyncIterator[TextDelta | Completion]:
        answer = self._answer(request.model)
        if self.desk.meanwhile is not None:
            await self.desk.meanwhile()
        async for item in ScriptedModel(answer).stream(request):
            yield item

    async def models(self) -> list[str]:
        answer = self._answer("")
        if isinstance(answer, ModelError):
            raise answer
        return ["gpt-5"]

    async def aclose(self) -> None:
        """Nothing is open."""

    def _answer(self, model: str) -> str | ModelError:
        secret = self.access.key.get_secret_value() if self.access.key else ""
        self.desk.used.append(Use(self.provider, secret, time.monotonic()))
        answer = self.desk.says.get(secret, f"answered with {self.access.info.name}")
        return answer if isinstance(answer, str) else answer("no", provider=self.provider, model=model)


@dataclass(frozen=True, slots=True)
class Use:
    provider: str
    secret: str
    at: float


@dataclass(slots=True)
class Desk:
    """`says` maps a secret to the answer it gets: a text, or an error. `meanwhile` happens during each call."""

    layer: ModelLayer
    sessions: Sessions
    says: dict[str, Answer] = field(default_factory=dict)
    used: list[Use] = field(default_factory=list)
    meanwhile: Callable[[], Awaitable[Any]] | None = None

    async def add(self, name: str, provider: Provider = Provider.OPENAI, **fields: Any) -> ProviderKey:
        new = NewKey(provider, name, SecretStr(secret_of(name)), **fields)
        async with unit_of_work(self.sessions) as session:
            return await self.layer.keys.add(session, BY, new)

    async def routes(self, *wishes: RouteWish) -> None:
        async with unit_of_work(self.sessions) as session:
            await self.layer.keys.set_routes(session, BY, wishes)

    async def row(self, name: str) -> ProviderKey:
        async with unit_of_work(self.sessions) as session:
            return await self.layer.keys.get(session, name)

    async def ask(self, wanted: str | None = None, requester: str | None = "operator:bob") -> CompletedCall:
        """Reads what people have set at once, as a notification would make it."""
        self.layer.directory.hear("")
        return await self.layer.llm.complete(wanted, ask("x"), caller=Caller(requester))

    @property
    def tester(self) -> KeyTester:
        layer = self.layer
        return KeyTester(layer.keys, layer.llm.models, layer.directory, self.sessions, SystemClock())

    @property
    def keys_used(self) -> list[str]:
        return [name_of(use.secret) for use in self.used]


MakeDesk = Callable[..., Desk]
