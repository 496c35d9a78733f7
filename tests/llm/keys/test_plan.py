"""Which keys may be used for whom and for what: never somebody else's, never for a model that it is not for."""

import re
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from atom.llm.access import KeyInfo
from atom.llm.choice import KEYED
from atom.llm.errors import ModelNotConfiguredError
from atom.llm.routes import Config, RouteLine, permitted, plan
from atom.settings import LlmSettings, Provider

NAMES = ("alice", "bob", "carol", "")
MODELS = ("gpt-5", "gpt-5-mini", "claude-4", "gemini-3", "x/y:1", "other")
PATTERNS = (*MODELS, "gpt-*", "claude-?", "*", "x/*", "?pt-5")
SETTINGS = LlmSettings()
BOTH = LlmSettings(openai_api_key=SecretStr("sk-environment"), anthropic_api_key=SecretStr("sk-environment"))

keys = st.lists(
    st.builds(
        KeyInfo,
        st.sampled_from(KEYED),
        name=st.sampled_from(("a", "b", "c")),
        id=st.integers(1, 12).map(lambda number: UUID(int=number)),
        owner=st.sampled_from(("alice", "bob", "Alice", None)),
        models=st.lists(st.sampled_from(PATTERNS), max_size=3).map(tuple),
        refused=st.booleans(),
    ),
    max_size=8,
    unique_by=lambda key: key.id,
).map(tuple)
lines = st.lists(
    st.builds(
        RouteLine,
        st.sampled_from((*KEYED, Provider.LOCAL)),
        st.sampled_from((*MODELS[:-1], None)),
        st.sampled_from((None, *(UUID(int=number) for number in range(1, 13)))),
    ),
    max_size=6,
).map(tuple)
requesters = st.one_of(
    st.none(), st.builds("{}:{}".format, st.sampled_from(("admin", "operator")), st.sampled_from(NAMES))
)
wishes = st.sampled_from(
    (None, "", "openai", "gpt-5", "openai/gpt-5", "anthropic/claude-4", "compatible/x/y:1", "local")
)
every_settings = st.sampled_from(
    (SETTINGS, BOTH, SETTINGS.model_copy(update={"failover": False}), BOTH.model_copy(update={"provider": "anthropic"}))
)


def fits(model: str, patterns: tuple[str, ...]) -> bool:
    """Told once more, in another way."""
    forms = [re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".") for pattern in patterns]
    return not forms or any(re.fullmatch(form, model) for form in forms)


@given(settings=every_settings, found=keys, listed=lines, wanted=wishes, requester=requesters)
def test_no_plan_uses_a_key_that_is_somebody_elses_or_does_not_fit(
    settings: LlmSettings,
    found: tuple[KeyInfo, ...],
    listed: tuple[RouteLine, ...],
    wanted: str | None,
    requester: str | None,
) -> None:
    try:
        routes = plan(settings, Config(1, found, listed), wanted, requester)
    except ModelNotConfiguredError:
        return
    assert routes
    name = requester.split(":", 1)[1] if requester else None
    for route in routes:
        key = route.key
        assert key.provider is route.provider, "a key goes to its own provider only"
        if key.id is None:
            continue
        assert key in found
        assert key.owner in {None, name}
        assert fits(route.model, key.models)
    for route in routes:
        mates = [one.key for one in routes if (one.provider, one.model) == (route.provider, route.model)]
        pinned = [line for line in listed if line.key_id is not None]
        if route.key.refused and not pinned and not wanted:
            assert all(mate.refused for mate in mates), "a refused key is only asked where there is no other"


@given(found=keys, model=st.sampled_from(MODELS), requester=requesters)
def test_permission_is_owner_and_model_and_nothing_else(
    found: tuple[KeyInfo, ...], model: str, requester: str | None
) -> None:
    name = requester.split(":", 1)[1] if requester else None
    for key in found:
        assert permitted(key, model, requester) == (key.owner in {None, name} and fits(model, key.models))


@given(found=keys, requester=requesters)
def test_the_order_within_a_provider_is_the_order_of_the_keys(
    found: tuple[KeyInfo, ...], requester: str | None
) -> None:
    try:
        routes = plan(SETTINGS, Config(1, found), "openai/gpt-5", requester)
    except ModelNotConfiguredError:
        return
    first = [route.key for route in routes if route.provider is Provider.OPENAI and route.model == "gpt-5"]
    assert first == [key for key in found if key in first]


def key(provider: Provider, owner: str | None = None, number: int = 1) -> KeyInfo:
    return KeyInfo(provider, f"k{number}", UUID(int=number), owner=owner)


def test_somebody_elses_key_decides_nothing_for_others() -> None:
    """Alice stores a key for herself: Bob's runs go where they went before."""
    hers = key(Provider.OPENAI, "alice")
    (route,) = plan(SETTINGS, Config(1, (hers,)), None, "operator:bob")
    assert (route.provider, route.key.id) == (Provider.LOCAL, None)
    common = key(Provider.ANTHROPIC, None, 2)
    assert [route.key for route in plan(SETTINGS, Config(1, (hers, common)), None, "operator:bob")] == [common]
    assert plan(SETTINGS, Config(1, (hers, common)), None, "operator:alice")[0].key == hers


def test_an_owner_is_a_whole_name() -> None:
    hers = key(Provider.OPENAI, "alice")
    for stranger in (None, "alice", "admin:alice2", "admin:Alice", "admin:", "alice:admin", "agent:x:alice"):
        assert not permitted(hers, "gpt-5", stranger), stranger
    assert permitted(hers, "gpt-5", "viewer:alice")
