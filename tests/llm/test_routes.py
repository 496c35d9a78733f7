"""Which routes a call has, in which order, over any keys and lists that people may set."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import SecretStr

from atom.llm.access import KeyInfo
from atom.llm.errors import ModelNotConfiguredError
from atom.llm.retry import MOST_WAITING, in_call_wait
from atom.llm.routes import Config, Route, RouteLine, first_choice, permitted, plan
from atom.settings import LlmSettings, Provider

BOB = "user:bob"
BOTH = LlmSettings(
    openai_api_key=SecretStr("a"), openai_model="gpt", anthropic_api_key=SecretStr("b"), anthropic_model="claude"
)
PROVIDERS = (Provider.OPENAI, Provider.ANTHROPIC, Provider.GEMINI)
WANTED = st.sampled_from([None, "", "gpt-y", "openai", "anthropic/claude-y", "gemini", "openai/gpt"])


def key(number: int, provider: Provider = Provider.OPENAI, **fields: Any) -> KeyInfo:
    return replace(KeyInfo(provider, f"key-{number}", UUID(int=number)), **fields)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    owners, models = st.sampled_from([None, "bob", "alice"]), st.sampled_from([(), ("gpt*",), ("claude*", "gpt-y")])
    keys = tuple(
        key(number, provider, owner=draw(owners), models=draw(models), refused=draw(st.booleans()))
        for number, provider in enumerate(draw(st.lists(st.sampled_from(PROVIDERS), max_size=5)), 1)
    )
    names = st.sampled_from([None, "gpt", "gpt-y", "claude-y"])
    lines = [
        RouteLine(provider, draw(names), draw(st.sampled_from([None, *(k.id for k in keys if k.provider is provider)])))
        for provider in draw(st.lists(st.sampled_from(PROVIDERS), max_size=4))
    ]
    return Config(1, keys, tuple(lines))


@st.composite
def deployments(draw: st.DrawFn) -> LlmSettings:
    secret = st.sampled_from([None, SecretStr("x")])
    return LlmSettings(
        provider=draw(st.sampled_from([None, *PROVIDERS])),
        openai_api_key=draw(secret),
        openai_model="gpt",
        anthropic_api_key=draw(secret),
        anthropic_model="claude",
        gemini_model="gem",
        failover=draw(st.booleans()),
    )


def names(routes: tuple[Route, ...]) -> list[str]:
    return [route.name for route in routes]


@pytest.mark.parametrize(
    ("settings", "config", "wanted", "expected"),
    [
        (BOTH, Config(), None, ["openai/gpt", "anthropic/claude"]),
        (BOTH, Config(), "anthropic", ["anthropic/claude", "openai/gpt"]),
        (BOTH, Config(), "anthropic/claude-y", ["anthropic/claude-y", "openai/gpt", "anthropic/claude"]),
        (BOTH.model_copy(update={"provider": Provider.ANTHROPIC}), Config(), None, ["anthropic/claude", "openai/gpt"]),
        (BOTH.model_copy(update={"failover": False}), Config(), None, ["openai/gpt"]),
        (
            BOTH,
            Config(1, (), (RouteLine(Provider.ANTHROPIC, "c"), RouteLine(Provider.OPENAI), RouteLine(Provider.LOCAL))),
            None,
            ["anthropic/c", "openai/gpt", "local/smollm2-135m-instruct"],
        ),
        (
            BOTH.model_copy(update={"provider": Provider.OPENAI}),
            Config(1, (), (RouteLine(Provider.ANTHROPIC), RouteLine(Provider.OPENAI, "gpt-y"))),
            None,
            ["openai/gpt-y", "anthropic/claude"],
        ),
        (BOTH, Config(1, (key(1), key(2))), None, ["openai/gpt (key-1)", "openai/gpt (key-2)", "openai/gpt",
                                                   "anthropic/claude"]),
        (BOTH, Config(1, (key(1, refused=True), key(2))), None, ["openai/gpt (key-2)", "openai/gpt",
                                                                 "anthropic/claude"]),
        (BOTH, Config(1, (key(1),), (RouteLine(Provider.OPENAI, None, UUID(int=1)),)), None, ["openai/gpt (key-1)"]),
    ],
)  # fmt: skip
def test_the_order_of_asking(settings: LlmSettings, config: Config, wanted: str | None, expected: list[str]) -> None:
    assert names(plan(settings, config, wanted, BOB)) == expected


@given(deployments(), configs(), WANTED)
def test_any_plan_keeps_the_rules(settings: LlmSettings, config: Config, wanted: str | None) -> None:
    try:
        routes = plan(settings, config, wanted, BOB)
    except ModelNotConfiguredError:
        return
    assert routes
    assert len(set(routes)) == len(routes)
    assert all(permitted(route.key, route.model, BOB) and route.key.owner in {None, "bob"} for route in routes)
    assert all(route.key.provider is route.provider for route in routes)
    first = first_choice(settings, config, wanted, BOB)
    assert routes[0].provider is first.provider
    if wanted and "/" in wanted:
        assert f"{routes[0].provider}/{routes[0].model}" == wanted
    elif wanted in list(Provider):
        assert routes[0].provider == wanted
    elif settings.provider is not None:
        assert routes[0].provider is settings.provider
    if not settings.failover:
        assert {route.provider for route in routes} == {first.provider}


def test_a_key_of_somebody_else_alone_chooses_nothing() -> None:
    config = Config(1, (key(1, owner="alice"),))
    assert first_choice(LlmSettings(), config, None, BOB).provider is Provider.LOCAL
    assert plan(LlmSettings(), config, None, BOB)[0].provider is Provider.LOCAL


@given(configs(), st.sampled_from([None, "gpt-y"]))
def test_the_key_of_one_person_changes_nothing_for_another(config: Config, wanted: str | None) -> None:
    """Alice brings a key of her own: that must not decide which provider Bob's runs ask, let alone fail them."""
    others = tuple(one for one in config.keys if one.owner != "alice")
    lines = tuple(replace(line, key_id=None) for line in config.lines)
    assume(any(line.provider is not Provider.GEMINI for line in lines) or not lines)
    before = plan(BOTH, replace(config, keys=others, lines=lines), wanted, BOB)
    assert plan(BOTH, replace(config, lines=lines), wanted, BOB) == before


@pytest.mark.parametrize(
    "keys", [(), (key(1, owner="alice"),), (key(1, models=("other",)),)], ids=["disabled", "another's", "other models"]
)
def test_a_line_whose_key_cannot_be_used_is_passed_over(keys: tuple[KeyInfo, ...]) -> None:
    config = Config(1, keys, (RouteLine(Provider.OPENAI, None, UUID(int=1)), RouteLine(Provider.ANTHROPIC)))
    assert names(plan(BOTH, config, None, BOB)) == ["anthropic/claude"]


@pytest.mark.parametrize("wanted", ["gemini", "gemini/gem"])
def test_what_is_asked_for_by_name_is_not_replaced_by_another_provider(wanted: str) -> None:
    config = Config(1, (key(1, Provider.GEMINI, owner="alice"),))
    with pytest.raises(ModelNotConfiguredError, match="gemini"):
        plan(BOTH, config, wanted, BOB)


def test_where_only_others_have_keys_everything_is_as_if_there_were_none() -> None:
    config = Config(1, (key(1, owner="alice"),))
    assert names(plan(LlmSettings(), config, None, BOB)) == names(plan(LlmSettings(), Config(), None, BOB))
    with pytest.raises(ModelNotConfiguredError):
        plan(LlmSettings(), config, "openai/gpt", BOB)


def test_refused_keys_are_asked_only_where_the_provider_has_no_other() -> None:
    config = Config(1, (key(1, refused=True), key(2, refused=True)))
    settings = LlmSettings(openai_model="gpt")
    assert names(plan(settings, config, None, BOB)) == ["openai/gpt (key-1)", "openai/gpt (key-2)"]


@given(st.floats(0, 100), st.floats(0, 8), st.floats(0, MOST_WAITING))
def test_a_wait_is_never_shorter_than_asked_and_never_longer_than_is_left(
    blocked: float, pause: float, left: float
) -> None:
    wait = in_call_wait(blocked, pause, left=left)
    assert (wait is None) == (max(blocked, pause) > left)
    assert wait is None or (blocked <= wait <= left and pause <= wait)
