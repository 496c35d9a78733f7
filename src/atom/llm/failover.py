"""One call's walk over its routes: who is asked, who is asked next, and when to stop asking."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import structlog

from atom.errors import NotFoundError
from atom.infra.trace import NO_TRACER, Tracer
from atom.kit.clock import Clock
from atom.llm.access import KeyInfo
from atom.llm.attempt import Attempt, OnDelta
from atom.llm.breaker import Admission, Circuits
from atom.llm.calls import Caller, CompletedCall, FailedOver, cache_hit_record
from atom.llm.catalogue import Catalogue
from atom.llm.directory import Directory
from atom.llm.errors import ModelAuthError, ModelError, ModelNotConfiguredError, OverBudgetError, RoutesDownError
from atom.llm.metrics import LlmMetrics
from atom.llm.ports import ChatModel, ChatRequest, Completion
from atom.llm.retry import MOST_WAITING, backoff, in_call_wait
from atom.llm.routes import Route, permitted
from atom.llm.vault.errors import VaultLockedError
from atom.settings import LlmSettings

# With initial values, not .bind(): that would freeze whatever logging is set up when this module is imported.
log = structlog.get_logger(service="byok")
HOPELESS_SECONDS = 5.0  # until it is looked again whether a person has changed what no waiting changes
NOT_NOW = (VaultLockedError, NotFoundError)  # this key, at this moment: the next route may do
PASSING = (ModelError, VaultLockedError)  # why an earlier route did not answer: it may when it is asked again
LOCKED_SECONDS = 15.0  # until a locked vault is tried again: a person has to bring the key


class Models(Protocol):
    async def get(self, key: KeyInfo) -> ChatModel: ...


@dataclass(frozen=True, slots=True)
class Layer:
    """What every walk of this process works with."""

    settings: LlmSettings
    metrics: LlmMetrics
    clock: Clock
    directory: Directory
    catalogue: Catalogue
    circuits: Circuits
    models: Models
    sleep: Callable[[float], Awaitable[None]]
    jitter: Callable[[], float]
    tracer: Tracer = NO_TRACER


@dataclass(slots=True)
class Walk:
    """`routes` in the order of trying. Lines of the log name routes and keys, never a secret."""

    layer: Layer
    routes: Sequence[Route]
    request: ChatRequest
    on_delta: OnDelta | None
    caller: Caller
    number: int = field(default=0, init=False)
    began: float = field(default=0.0, init=False)
    waited: float = field(default=0.0, init=False)
    _open: list[Route] = field(default_factory=list, init=False)
    _tries: dict[Route, int] = field(default_factory=dict, init=False)
    _failed: tuple[Route, ModelError, bool] | None = field(default=None, init=False)
    _last: Exception | None = field(default=None, init=False)
    _hopeless: set[Route] = field(default_factory=set, init=False)

    async def run(self) -> CompletedCall:
        self.began = self.layer.clock.monotonic()
        self._open = list(self.routes)
        for round_ in range(1, self.layer.settings.attempts + len(self.routes) + 1):
            for route in list(self._open):
                admission = self._admit(route)
                if admission is None:
                    continue
                done = await self._try(route, admission)
                if done is not None:
                    return done
            await self._wait(round_)
        raise self._down()

    async def from_cache(self, completion: Completion, seconds: float) -> CompletedCall:
        """An answer that was paid for before."""
        if self.on_delta is not None:
            shown = self.on_delta(1, 0, completion.text)
            if shown is not None:
                await shown
        record = cache_hit_record(self.routes[0], completion, seconds)
        unpaid = replace(completion, usage=record.usage)
        return CompletedCall(unpaid, 1, seconds, seconds, seconds, 0.0, record)

    def _admit(self, route: Route) -> Admission | None:
        if route not in self._open or self._tries.get(route, 0) >= self.layer.settings.attempts:
            return None
        return self.layer.circuits.admit(route.circuit)

    async def _try(self, route: Route, admission: Admission) -> CompletedCall | None:
        """The reply, or None when another route or another time may give one. The circuit has admitted the call."""
        circuits, learnt, shown = self.layer.circuits, False, False
        self._tries[route] = self._tries.get(route, 0) + 1
        try:
            attempt = await self._prepare(route)
            if attempt is None:
                return None
            try:
                done = await attempt.run()
            finally:
                shown = attempt.chars > 0
            circuits.succeeded(admission)
            learnt = True
            return self._answered(route, done)
        except ModelAuthError as error:
            await self._refused(route, error)
        except ModelError as error:
            if error.failover:
                learnt = True
                circuits.failed(admission, error)
            self._note_failure(route, error, shown=shown)
        finally:
            if not learnt:
                circuits.released(admission)
            state = partial(circuits.state, route.circuit)
            self.layer.metrics.circuit(route.provider.value, route.model, route.circuit, state)
        return None

    async def _prepare(self, route: Route) -> Attempt | None:
        """None: this route cannot be asked at all, another one may."""
        layer = self.layer
        if route.key.refused:
            raise ModelAuthError(
                f"{route.provider} refused {route.key.label} earlier.",
                hint="Give it a new secret with `atom keys update`, or test it with `atom keys test`.",
                provider=route.provider.value,
                model=route.model,
            )
        stream = self.request.stream and layer.settings.streaming and route.key.streams
        request = replace(self.request, model=route.model, stream=stream)
        try:
            model = await layer.models.get(await self._key_now(route))
            estimate = layer.catalogue.estimate(route.provider, route.model, request)
            reservation = await self.caller.hooks.reserve(route, estimate)
        except NOT_NOW as error:
            self._skip(route, error)
            return None
        except ModelNotConfiguredError as error:
            if route is self.routes[0]:
                raise
            self._skip(route, error)
            return None
        except OverBudgetError as error:
            if error.scope != "key" or len(self._open) == 1:
                raise
            self._skip(route, error)
            return None
        self.number += 1
        await self._tell(route)
        return Attempt(
            model=model,
            route=route,
            request=request,
            on_delta=self.on_delta,
            settings=layer.settings,
            metrics=layer.metrics,
            catalogue=layer.catalogue,
            hooks=self.caller.hooks,
            clock=layer.clock,
            number=self.number,
            began=self.began,
            reservation=reservation,
            tracer=layer.tracer,
            labels=self.caller.labels,
        )

    async def _key_now(self, route: Route) -> KeyInfo:
        """The key of a route as it is now: a walk may take a minute, a key that is disabled or taken away is not used
        a second later. Raises NotFoundError."""
        if route.key.id is None:
            return route.key
        config = await self.layer.directory.fresh()
        key = next((key for key in config.keys if key.id == route.key.id), None)
        if key is None or not permitted(key, route.model, self.caller.requester):
            raise NotFoundError(f"It may not be used here any more: {route.key.label}.")
        return key

    def _skip(self, route: Route, error: Exception) -> None:
        code = getattr(error, "code", type(error).__name__)
        log.warning(
            "llm.route_skipped", provider=route.provider, model=route.model, key=route.key.name, error_code=code
        )
        self._drop(route)
        if self._last is None:
            self._last = error

    def _drop(self, route: Route) -> None:
        """What it lacks does not come with time."""
        self._open.remove(route)
        self._hopeless.add(route)

    async def _tell(self, route: Route) -> None:
        """Another route is asked, or text that was shown is replaced: the run says so."""
        if self._failed is None:
            return
        source, error, shown = self._failed
        self._failed = None
        change = FailedOver(source, route, error.code, error.message, shown)
        if source != route or shown:
            await self.caller.hooks.failed_over(change)
        if source != route:
            log.warning(
                "llm.failed_over", provider=route.provider, model=route.model, key=route.key.name,
                instead_of=source.name, error_code=error.code,
            )  # fmt: skip

    async def _refused(self, route: Route, error: ModelAuthError) -> None:
        """The provider's next permitted key may do. Another provider never: a bad key must not spend its money."""
        if not route.key.refused:
            await self.layer.directory.refused(route.key, error.message)
        self._open = [one for one in self._open if one.provider is route.provider and one.key != route.key]
        self._hopeless.add(route)
        self._failed = (route, error, False)
        if not self._open:
            raise error if self._is_first(route) and not isinstance(self._last, PASSING) else self._down()
        log.warning("llm.next_key", provider=route.provider, refused=route.key.name)

    def _note_failure(self, route: Route, error: ModelError, *, shown: bool) -> None:
        """A request that is refused is not tried elsewhere. A fallback that refuses it was only not the right one."""
        if not error.failover:
            if self._is_first(route):
                raise error
            self._drop(route)
            return
        self._last, self._failed = error, (route, error, shown)

    def _is_first(self, route: Route) -> bool:
        """Whether it is what was asked for, through whatever key."""
        return (route.provider, route.model) == (self.routes[0].provider, self.routes[0].model)

    async def _wait(self, round_: int) -> None:
        """Until a route may be asked again. Raises RoutesDownError where that is too long to hold a worker for."""
        layer = self.layer
        waits = [
            layer.circuits.wait(route.circuit)
            for route in self._open
            if self._tries.get(route, 0) < layer.settings.attempts
        ]
        if not waits:
            raise self._down()
        wait = in_call_wait(min(waits), backoff(round_, layer.jitter()), left=MOST_WAITING - self.waited)
        if wait is None:
            raise self._down()
        log.info("llm.retrying", attempt=self.number + 1, wait_seconds=round(wait, 3))
        self.waited += wait
        await layer.sleep(wait)

    def _answered(self, route: Route, done: CompletedCall) -> CompletedCall:
        if route == self.routes[0]:
            return done
        log.warning(
            "llm.answered_by_fallback", provider=route.provider, model=route.model, key=route.key.name,
            instead_of=self.routes[0].name,
        )  # fmt: skip
        return replace(done, fell_back_from=self.routes[0].name)

    def _down(self) -> ModelError:
        first = self.routes[0]
        waits = [self.layer.circuits.wait(route.circuit) for route in self.routes if route not in self._hopeless]
        locked = isinstance(self._last, VaultLockedError)
        why = str(self._last) if locked else getattr(self._last, "message", "")
        why = why or "each of them failed a moment ago."
        many = len(self.routes) > 1
        what = f"None of {len(self.routes)} routes can answer now" if many else f"{first.name} cannot answer now"
        return RoutesDownError(
            f"{what}: {why}",
            provider=first.provider.value,
            model=first.model,
            resume_after=max(LOCKED_SECONDS if locked else 1.0, min(waits, default=HOPELESS_SECONDS))
            + self.layer.jitter(),
            last=self._last if isinstance(self._last, ModelError) else None,
        )
