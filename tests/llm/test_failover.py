"""One call's walk over its routes: who is asked next, who never is, and what is said about it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
import structlog
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from atom.kit.clock import FrozenClock
from atom.llm.access import Access, KeyInfo
from atom.llm.adapters.script import Reply
from atom.llm.breaker import CircuitState
from atom.llm.calls import AttemptRecord, Caller, CompletedCall, FailedOver
from atom.llm.catalogue import Estimate
from atom.llm.errors import (
    ModelAuthError,
    ModelError,
    ModelRateLimitedError,
    ModelRequestError,
    ModelUnavailableError,
    OverBudgetError,
    RoutesDownError,
)
from atom.llm.metrics import LlmMetrics
from atom.llm.ports import ChatModel
from atom.llm.retry import MOST_WAITING
from atom.llm.routes import Config, Route
from atom.llm.service import LlmService
from atom.llm.testing import ScriptedModel, ask
from atom.llm.vault.errors import VaultLockedError
from atom.settings import LlmSettings, Provider

O1 = KeyInfo(Provider.OPENAI, "o1", UUID(int=1))
O2 = KeyInfo(Provider.OPENAI, "o2", UUID(int=2))
A1 = KeyInfo(Provider.ANTHROPIC, "a1", UUID(int=3))
G1 = KeyInfo(Provider.GEMINI, "g1", UUID(int=4))


def fails(kind: type[ModelError] = ModelUnavailableError, retry_after: float | None = None) -> ModelError:
    return kind("no", provider="p", model="m", retry_after=retry_after)


def half(kind: type[ModelError] = ModelUnavailableError) -> Reply:
    return Reply(chunks=("half ", "an "), error=fails(kind))


@dataclass
class Keys:
    """A directory of keys in memory. `locked`: their secrets cannot be had."""

    config: Config
    locked: set[str] = field(default_factory=set)
    refusals: list[str] = field(default_factory=list)

    async def fresh(self) -> Config:
        return self.config

    async def access(self, key: KeyInfo) -> Access:
        if key.name in self.locked:
            raise VaultLockedError("locked")
        return Access(key, SecretStr("x"))

    async def refused(self, key: KeyInfo, reason: str) -> None:
        self.refusals.append(key.name)


@dataclass
class Hooks:
    """What a run keeps. `spent`: keys and scopes whose budget has no room."""

    spent: dict[str, str] = field(default_factory=dict)
    notes: list[AttemptRecord] = field(default_factory=list)
    changes: list[tuple[str, str, bool]] = field(default_factory=list)
    reserved: list[str] = field(default_factory=list)

    def note(self, record: AttemptRecord) -> None:
        self.notes.append(record)

    async def reserve(self, route: Route, estimate: Estimate) -> UUID | None:
        scope = self.spent.get(route.key.name)
        if scope is not None:
            raise OverBudgetError("over", hint="", scope=scope, resume_after=100.0)
        self.reserved.append(route.key.name)
        return uuid4()

    async def failed_over(self, change: FailedOver) -> None:
        self.changes.append((change.source.key.name, change.target.key.name, change.restarted))


class Bench:
    """A service over one scripted model for each key, in the order in which they are given."""

    def __init__(self, scripts: dict[KeyInfo, Sequence[Any]], **settings: Any) -> None:
        self.models = {key.name: ScriptedModel(*replies, provider=key.provider) for key, replies in scripts.items()}
        self.keys = Keys(Config(1, tuple(scripts)))
        self.clock, self.hooks = FrozenClock(), Hooks()
        self.waits: list[float] = []
        self.registry = CollectorRegistry()
        self.service = LlmService(
            LlmSettings(openai_model="o", anthropic_model="a", gemini_model="g", **settings),
            dict.fromkeys(Provider, self.load),
            LlmMetrics(self.registry),
            self.clock,
            self.keys,
            sleep=self.sleep,
            jitter=lambda: 0.5,
        )

    async def load(self, access: Access) -> ChatModel:
        return self.models[access.info.name]

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.advance(seconds)

    async def ask(self, wanted: str | None = None) -> CompletedCall:
        return await self.service.complete(wanted, ask("x"), None, Caller(hooks=self.hooks))

    @property
    def asked(self) -> dict[str, int]:
        return {name: len(model.asked) for name, model in self.models.items()}

    def circuit(self, key: KeyInfo) -> CircuitState:
        model = {"openai": "o", "anthropic": "a", "gemini": "g"}[key.provider]
        return self.service.circuits.state(Route(key.provider, model, key).circuit)


async def test_the_next_route_is_asked_at_once_and_the_first_again_only_after_all() -> None:
    bench = Bench({O1: [fails(), "back"], O2: [fails()], A1: [fails()]})
    done = await bench.ask()
    assert (done.completion.text, done.fell_back_from, done.attempt) == ("back", None, 4)
    assert len(bench.waits) == 1
    assert [note.key_id for note in bench.hooks.notes] == [O1.id, O2.id, A1.id, O1.id]
    assert bench.hooks.changes == [("o1", "o2", False), ("o2", "a1", False), ("a1", "o1", False)]


async def test_a_fallback_that_answers_is_said_in_the_call_and_in_the_log() -> None:
    bench = Bench({O1: [fails()], A1: ["fine"]})
    with structlog.testing.capture_logs() as events:
        done = await bench.ask()
    assert (done.completion.text, done.fell_back_from) == ("fine", "openai/o (o1)")
    said = {event["event"]: event for event in events if event.get("service") == "byok"}
    assert said["llm.failed_over"]["instead_of"] == "openai/o (o1)"
    assert said["llm.failed_over"]["error_code"] == "llm_unavailable"
    assert said["llm.answered_by_fallback"]["key"] == "a1"


async def test_without_failover_nobody_else_is_asked() -> None:
    bench = Bench({O1: [fails()] * 9, A1: ["never"]}, failover=False)
    with pytest.raises(RoutesDownError):
        await bench.ask()
    assert bench.asked == {"o1": 3, "a1": 0}


async def test_an_open_circuit_is_passed_over_without_a_wait() -> None:
    bench = Bench({O1: [fails()] * 3, A1: ["1", "2", "3", "4"]})
    for _ in range(4):
        assert (await bench.ask()).fell_back_from == "openai/o (o1)"
    assert bench.asked == {"o1": 3, "a1": 4}
    assert (bench.waits, bench.circuit(O1)) == ([], CircuitState.OPEN)


async def test_of_two_keys_of_one_model_the_circuit_that_is_open_is_shown() -> None:
    bench = Bench({O1: [fails(retry_after=900.0)], O2: ["fine", "fine"]})
    for _ in range(2):
        await bench.ask()
        labels = {"provider": "openai", "model": "o"}
        assert bench.registry.get_sample_value("atom_llm_circuit_state", labels) == CircuitState.OPEN


async def test_an_open_circuit_is_shown_until_its_cooldown_ends_and_the_last_one_says_that_nobody_answers() -> None:
    bench = Bench({O1: [fails(retry_after=900.0)], A1: ["fine", fails(retry_after=900.0)]})

    def shown() -> tuple[float | None, bool]:
        labels = {"provider": "openai", "model": "o"}
        return bench.registry.get_sample_value("atom_llm_circuit_state", labels), bench.service.away()

    await bench.ask()
    assert shown() == (CircuitState.OPEN, False)
    with pytest.raises(RoutesDownError):
        await bench.ask()
    assert shown() == (CircuitState.OPEN, True)
    bench.clock.advance(901.0)
    assert shown() == (CircuitState.CLOSED, False)


async def test_a_route_that_waits_for_its_probe_does_not_answer_yet() -> None:
    bench = Bench({O1: [fails()] * 3 + ["back", "and stays"]}, attempts=1)
    for _ in range(3):
        with pytest.raises(RoutesDownError):
            await bench.ask()
    bench.clock.advance(MOST_WAITING)
    assert (bench.circuit(O1), bench.service.away()) == (CircuitState.HALF_OPEN, True)
    await bench.ask()
    assert (bench.circuit(O1), bench.service.away()) == (CircuitState.CLOSED, False)


async def test_a_refused_key_makes_way_for_the_next_of_its_provider_only() -> None:
    bench = Bench({O1: [fails(ModelAuthError)], O2: ["fine"], A1: ["never"]})
    done = await bench.ask()
    assert (done.completion.text, done.fell_back_from) == ("fine", "openai/o (o1)")
    assert (bench.asked, bench.keys.refusals) == ({"o1": 1, "o2": 1, "a1": 0}, ["o1"])


async def test_where_every_key_is_refused_no_other_provider_pays() -> None:
    bench = Bench({O1: [fails(ModelAuthError)], O2: [fails(ModelAuthError)], A1: ["never"]})
    with pytest.raises(ModelAuthError):
        await bench.ask()
    assert (bench.asked["a1"], bench.keys.refusals) == (0, ["o1", "o2"])


async def test_the_next_key_of_a_provider_that_is_down_waits_and_nobody_else_pays() -> None:
    bench = Bench({O1: [fails(ModelAuthError)], O2: [fails()] * 3, A1: ["never"]})
    with pytest.raises(RoutesDownError):
        await bench.ask()
    assert bench.asked == {"o1": 1, "o2": 3, "a1": 0}


@pytest.mark.parametrize("opened", [False, True], ids=["fails now", "its circuit is open"])
async def test_a_fallback_whose_key_is_refused_does_not_end_the_run(opened: bool) -> None:
    """The provider that was asked for comes back by itself; an error about another one's key would end the run."""
    bench = Bench({O1: [fails(retry_after=30.0)] * 9, A1: [*(["fine"] if opened else []), fails(ModelAuthError)]})
    if opened:
        assert (await bench.ask()).completion.text == "fine"
    with pytest.raises(RoutesDownError) as caught:
        await bench.ask()
    assert bench.keys.refusals == ["a1"]
    assert 30.0 <= caught.value.resume_after <= 32.0


async def test_a_refused_request_is_not_tried_elsewhere() -> None:
    bench = Bench({O1: [fails(ModelRequestError)], O2: ["never"], A1: ["never"]})
    with pytest.raises(ModelRequestError):
        await bench.ask()
    assert bench.asked == {"o1": 1, "o2": 0, "a1": 0}


async def test_a_request_refused_on_a_later_try_is_not_tried_elsewhere_either() -> None:
    bench = Bench({O1: [fails(), fails(ModelRequestError)], A1: [fails(), "never"]})
    with pytest.raises(ModelRequestError):
        await bench.ask()
    assert bench.asked == {"o1": 2, "a1": 1}


@pytest.mark.parametrize("opened", [False, True], ids=["fails now", "its circuit is open"])
async def test_a_fallback_that_refuses_the_request_was_not_the_right_one(opened: bool) -> None:
    bench = Bench({O1: [fails()] * 9, A1: [*(["fine"] * 3 if opened else []), fails(ModelRequestError)], G1: ["right"]})
    if opened:
        for _ in range(3):
            await bench.ask()
    assert (await bench.ask()).completion.text == "right"
    assert bench.asked["a1"] == (4 if opened else 1)


async def test_restarted_is_said_only_where_text_was_shown() -> None:
    bench = Bench({O1: [half()], A1: [fails()], G1: ["whole"]})
    assert (await bench.ask()).completion.text == "whole"
    assert bench.hooks.changes == [("o1", "a1", True), ("a1", "g1", False)]


async def test_restarted_is_said_for_another_try_of_the_same_route_too() -> None:
    bench = Bench({O1: [half(), fails(), "whole"]})
    await bench.ask()
    assert bench.hooks.changes == [("o1", "o1", True)]


async def test_restarted_is_said_once_where_routes_in_between_are_passed_over() -> None:
    bench = Bench({O1: [half()], A1: ["never"], G1: ["whole"]})
    bench.keys.locked = {"a1"}
    await bench.ask()
    assert bench.hooks.changes == [("o1", "g1", True)]


async def test_all_down_says_when_to_come_back_and_what_was_said_last() -> None:
    bench = Bench({O1: [fails(ModelRateLimitedError, 40.0)], A1: [fails(ModelRateLimitedError, 90.0)]})
    with pytest.raises(RoutesDownError, match="None of 2 routes") as caught:
        await bench.ask()
    assert 40.0 <= caught.value.resume_after <= 42.0  # of the one that is back first
    assert isinstance(caught.value.last, ModelRateLimitedError)
    assert (bench.waits, bench.asked) == ([], {"o1": 1, "a1": 1})


async def test_waits_within_a_call_are_bounded_over_all_routes() -> None:
    limited = [fails(ModelRateLimitedError, 3.0)] * 20
    bench = Bench({O1: limited, A1: limited, G1: limited}, attempts=10)
    with pytest.raises(RoutesDownError):
        await bench.ask()
    assert sum(bench.waits) <= MOST_WAITING
    assert all(wait >= 3.0 for wait in bench.waits)


@pytest.mark.parametrize("when", ["waits for the answer", "has shown text"])
async def test_a_cancelled_walk_lets_the_next_call_probe(when: str) -> None:
    slow = Reply("a", delay=60) if when == "waits for the answer" else Reply(chunks=("a", "b"), chunk_delay=60)
    bench = Bench({O1: [*[fails()] * 3, slow, "back"]})
    with pytest.raises(RoutesDownError):
        await bench.ask()
    bench.clock.advance(60)
    probing = asyncio.create_task(bench.ask())
    while bench.asked["o1"] < 4:
        await asyncio.sleep(0)
    assert bench.service.circuits.admit(Route(Provider.OPENAI, "o", O1).circuit) is None
    probing.cancel()
    await asyncio.wait({probing})
    assert (await bench.ask()).completion.text == "back"
    assert bench.circuit(O1) is CircuitState.CLOSED


async def test_a_probe_without_room_in_its_budget_lets_the_next_call_probe() -> None:
    bench = Bench({O1: [*[fails()] * 3, "back"]})
    with pytest.raises(RoutesDownError):
        await bench.ask()
    bench.clock.advance(60)
    bench.hooks.spent["o1"] = "agent"
    with pytest.raises(OverBudgetError):
        await bench.ask()
    bench.hooks.spent.clear()
    assert (await bench.ask()).completion.text == "back"


async def test_a_key_without_room_in_its_own_budget_is_passed_over() -> None:
    bench = Bench({O1: ["never"], O2: ["fine"]})
    bench.hooks.spent["o1"] = "key"
    assert (await bench.ask()).completion.text == "fine"
    assert (bench.asked, bench.hooks.reserved) == ({"o1": 0, "o2": 1}, ["o2"])


@pytest.mark.parametrize("scope", ["agent", "deployment", "key"])
async def test_a_budget_that_no_route_can_help_stops_the_call(scope: str) -> None:
    bench = Bench({O1: ["never"], O2: ["never"]})
    bench.hooks.spent = {"o1": scope, "o2": scope}
    with pytest.raises(OverBudgetError):
        await bench.ask()
    assert bench.asked == {"o1": 0, "o2": 0}


async def test_a_key_over_budget_for_days_does_not_make_the_run_look_again_every_second() -> None:
    bench = Bench({O1: ["never"], O2: [fails(ModelRateLimitedError, 50.0)]})
    bench.hooks.spent["o1"] = "key"
    with pytest.raises(RoutesDownError) as caught:
        await bench.ask()
    assert 50.0 <= caught.value.resume_after <= 52.0


async def test_a_locked_vault_parks_the_call_and_counts_as_nobodys_failure() -> None:
    bench = Bench({O1: ["back"], A1: ["never"]})
    bench.keys.locked = {"o1", "a1"}
    with pytest.raises(RoutesDownError) as caught:
        await bench.ask()
    assert caught.value.resume_after >= 5.0
    assert bench.circuit(O1) is CircuitState.CLOSED
    bench.keys.locked.clear()
    assert (await bench.ask()).completion.text == "back"


async def test_what_is_asked_for_by_name_goes_first() -> None:
    bench = Bench({O1: ["o"], A1: ["a"]})
    assert (await bench.ask("anthropic")).completion.text == "a"
    assert bench.asked == {"o1": 0, "a1": 1}
