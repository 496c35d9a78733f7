"""Model calls: the routes in their order, tries repeated where that may help, the next one asked where it does not."""

import asyncio
import importlib
import importlib.util
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from uuid import UUID

import structlog

from atom.infra.trace import NO_TRACER, Tracer
from atom.kit.clock import Clock
from atom.llm.access import Access, KeyInfo, environment_key
from atom.llm.attempt import OnDelta
from atom.llm.breaker import Circuits, CircuitState
from atom.llm.cache import Flights, NoCache, ResponseCache, cache_key, cacheable, decode, encode, keeps
from atom.llm.calls import Caller, CompletedCall
from atom.llm.catalogue import Catalogue, price_list
from atom.llm.choice import Choice
from atom.llm.directory import Directory
from atom.llm.errors import ModelNotConfiguredError
from atom.llm.failover import Layer, Walk
from atom.llm.metrics import LlmMetrics
from atom.llm.ports import ChatModel, ChatRequest
from atom.llm.routes import first_choice, plan
from atom.settings import LlmSettings, Provider

# With initial values, not .bind(): that would freeze whatever logging is set up when this module is imported.
log = structlog.get_logger(service="byok")

Factory = Callable[[Access], Awaitable[ChatModel]]
MOST_FOLLOWED = 3  # calls that a call waits for in turn, as each of them fails; then it asks for itself
LEGACY = "httpx"
MAX_OPEN = 64  # adapters with their connections; the one used longest ago is closed

ADAPTERS = {provider: f"atom.llm.adapters.{provider}" for provider in Provider}


def adapter_factories(settings: LlmSettings) -> dict[Provider, Factory]:
    """How each provider is made when it is first used. Its SDK takes up to a second to import: then, in a thread."""

    def factory(name: str) -> Factory:
        async def load(access: Access) -> ChatModel:
            module = await asyncio.to_thread(_import, name)
            await asyncio.to_thread(price_list)
            model: ChatModel = await asyncio.to_thread(module.build, access, settings)
            return model

        return load

    return {provider: factory(name) for provider, name in ADAPTERS.items()}


def _import(name: str) -> ModuleType:
    """OpenAI's SDK looks in every call whether `httpx` is loaded, and would find half of it while Google's, in another
    thread, imports it: where it is installed, it is whole before any of them is used."""
    if importlib.util.find_spec(LEGACY) is not None:
        importlib.import_module(LEGACY)
    return importlib.import_module(name)


Identity = tuple[Provider, UUID | None, int]


@dataclass(slots=True)
class OpenModels:
    """The adapters in use, one for each key and each version of its secret. `linger`: seconds a call may take."""

    factories: Mapping[Provider, Factory]
    directory: Directory
    linger: float
    _models: dict[Identity, ChatModel] = field(init=False, default_factory=dict)
    _retired: dict["asyncio.Task[None]", ChatModel] = field(init=False, default_factory=dict)
    _loading: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)

    async def get(self, key: KeyInfo) -> ChatModel:
        """Raises ModelNotConfiguredError, VaultLockedError, KeyNotFoundError."""
        identity = (key.provider, key.id, key.version)
        found = self._models.get(identity)
        if found is not None:
            return found
        async with self._loading:
            return self._models.get(identity) or await self._load(key, identity)

    async def aclose(self) -> None:
        """Closes what was opened; a later call opens it again."""
        async with self._loading:
            retired = dict(self._retired)
            for task in retired:
                task.cancel()
            for model in [*self._models.values(), *retired.values()]:
                await model.aclose()
            self._models.clear()
            self._retired.clear()

    async def _load(self, key: KeyInfo, identity: Identity) -> ChatModel:
        factory = self.factories.get(key.provider)
        if factory is None:
            known = ", ".join(sorted(self.factories))
            raise ModelNotConfiguredError(f"{key.provider} is not a provider here.", hint=f"There are: {known}.")
        model = await factory(await self.directory.access(key))
        log.info("llm.provider_ready", provider=key.provider, key=key.name)
        stale = [one for one in self._models if one[1] is not None and one[1] == key.id]
        if len(self._models) >= MAX_OPEN and not stale:
            stale = [next(iter(self._models))]
        for one in stale:
            self._retire(self._models.pop(one))
        self._models[identity] = model
        return model

    def _retire(self, model: ChatModel) -> None:
        """Closed when no call can be using it any more."""

        async def close() -> None:
            await asyncio.sleep(self.linger)
            await model.aclose()

        task = asyncio.ensure_future(close())
        self._retired[task] = model
        task.add_done_callback(lambda done: self._retired.pop(done, None))


@dataclass(slots=True)
class LlmService:
    """Calls models. It holds no database connection across a call."""

    settings: LlmSettings
    factories: Mapping[Provider, Factory]
    metrics: LlmMetrics
    clock: Clock
    directory: Directory
    catalogue: Catalogue = field(default_factory=Catalogue)
    cache: ResponseCache = field(default_factory=NoCache)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random.random
    tracer: Tracer = NO_TRACER
    models: OpenModels = field(init=False)
    circuits: Circuits = field(init=False)
    _layer: Layer = field(init=False)
    _flights: Flights = field(init=False, default_factory=Flights)

    def __post_init__(self) -> None:
        self.models = OpenModels(self.factories, self.directory, self.settings.timeout)
        self.circuits = Circuits(self.clock, self.jitter)
        self._layer = Layer(
            self.settings, self.metrics, self.clock, self.directory, self.catalogue, self.circuits, self.models,
            self.sleep, self.jitter, self.tracer,
        )  # fmt: skip

    def choose(self, wanted: str | None = None, requester: str | None = None) -> Choice:
        """What is asked first, as far as this process knows. Raises ModelNotConfiguredError."""
        return first_choice(self.settings, self.directory.config, wanted, requester)

    def away(self) -> bool:
        """Whether every route that is asked when nobody names one failed last, as this process has learnt: it is left
        alone, or the next call is its probe.

        Raises ModelNotConfiguredError.
        """
        routes = plan(self.settings, self.directory.config, None, None)
        return all(self.circuits.state(route.circuit) is not CircuitState.CLOSED for route in routes)

    async def complete(
        self, wanted: str | None, request: ChatRequest, on_delta: OnDelta | None = None, caller: Caller | None = None
    ) -> CompletedCall:
        """The reply. `wanted` is what the agent or the run names; `request.model` is set for each route.

        A later attempt begins its text again at offset 0: it replaces what an earlier one showed. Raises
        RoutesDownError when nothing can answer now, OverBudgetError, and the ModelError of what cannot be helped by
        another try.
        """
        caller = caller or Caller()
        config = await self.directory.fresh()
        routes = plan(self.settings, config, wanted, caller.requester)
        walk = Walk(self._layer, routes, request, on_delta, caller)
        if not caller.use_cache or not cacheable(request, self.settings):
            return await walk.run()
        key = cache_key(routes[0], request, environment_key(self.settings, routes[0].provider))
        return await self._through_cache(key, walk)

    async def aclose(self) -> None:
        await self.models.aclose()
        await self.cache.aclose()

    async def _through_cache(self, key: str, walk: Walk) -> CompletedCall:
        """Calls that ask the same at the same time wait for one of them. When that one fails, the next tries."""
        began = self.clock.monotonic()
        for _ in range(MOST_FOLLOWED):
            ahead = self._flights.ahead(key)
            if ahead is None:
                return await self._lead(key, walk)
            await ahead.landed.wait()
            if ahead.answer is not None:
                self.metrics.cache.labels("hit").inc()
                return await walk.from_cache(ahead.answer, self.clock.monotonic() - began)
            if ahead.private:
                break
        return await walk.run()

    async def _lead(self, key: str, walk: Walk) -> CompletedCall:
        with self._flights.lead(key) as flight:
            began = self.clock.monotonic()
            flight.answer = decode(key, await self.cache.get(key))
            self.metrics.cache.labels("miss" if flight.answer is None else "hit").inc()
            if flight.answer is not None:
                return await walk.from_cache(flight.answer, self.clock.monotonic() - began)
            done = await walk.run()
            if done.fell_back_from is None and keeps(done.completion):  # a fallback's is of another model, another key
                flight.answer = done.completion
                await self.cache.put(key, encode(key, done.completion), self.settings.cache_ttl)
            flight.private = flight.answer is None
            return done
