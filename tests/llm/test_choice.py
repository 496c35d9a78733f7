"""Which model answers, as a table."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from atom.llm.choice import LOCAL_MODEL, SCRIPTED_MODEL, Choice, choose, configured
from atom.llm.errors import ModelNotConfiguredError
from atom.llm.notes import LOCAL_NOTE, SCRIPTED_NOTE, note_for
from atom.settings import LlmSettings, LocalModelSettings, Provider
from tests.support.planted import planted

OPENAI = {"openai_api_key": SecretStr(planted("choice", "sk-secret-one")), "openai_model": "gpt-x"}
ANTHROPIC = {"anthropic_api_key": SecretStr("sk-secret-two"), "anthropic_model": "claude-x"}
SCRIPT = {"scripted_path": Path("script.json")}


@pytest.mark.parametrize(
    ("values", "wanted", "name", "reason"),
    [
        ({}, None, f"local/{LOCAL_MODEL}", "no key is set"),
        (OPENAI, None, "openai/gpt-x", "OPENAI_API_KEY is set"),
        (ANTHROPIC, None, "anthropic/claude-x", "ANTHROPIC_API_KEY is set"),
        (OPENAI | ANTHROPIC, None, "openai/gpt-x", "OPENAI_API_KEY is set"),
        (OPENAI | ANTHROPIC, " ", "openai/gpt-x", "OPENAI_API_KEY is set"),
        (
            OPENAI | ANTHROPIC | {"provider": "anthropic"},
            None,
            "anthropic/claude-x",
            "LLM_PROVIDER=anthropic",
        ),
        (OPENAI | {"provider": "local"}, None, f"local/{LOCAL_MODEL}", "LLM_PROVIDER=local"),
        (SCRIPT, None, f"local/{LOCAL_MODEL}", "no key is set"),
        (SCRIPT | {"provider": "scripted"}, None, f"scripted/{SCRIPTED_MODEL}", "LLM_PROVIDER=scripted"),
        (OPENAI, "gpt-y", "openai/gpt-y", "the model gpt-y is asked for"),
        (OPENAI, "openai/gpt-y", "openai/gpt-y", "the model openai/gpt-y is asked for"),
        (OPENAI | ANTHROPIC, "anthropic", "anthropic/claude-x", "the model anthropic is asked for"),
        (OPENAI | ANTHROPIC, "anthropic/c:1", "anthropic/c:1", "the model anthropic/c:1 is asked for"),
        (OPENAI, "openai/org/llama-3@q4", "openai/org/llama-3@q4", "the model openai/org/llama-3@q4 is asked for"),
        (OPENAI, "local", f"local/{LOCAL_MODEL}", "the model local is asked for"),
        ({"local": {"model_path": Path("/m/Qwen3-4B.Q4_K_M.gguf")}}, None, "local/Qwen3-4B.Q4_K_M", "no key is set"),
        (OPENAI | {"local": {"model_path": Path("q.gguf")}}, "local/q", "local/q", "the model local/q is asked for"),
        ({"local": {"model_path": Path("/m/a b/c (1).gguf")}}, "local", "local/c--1-", "the model local is asked for"),
        ({"local": {"model_path": Path("/m/.gguf")}}, None, "local/model.gguf", "no key is set"),
        (OPENAI, f"local/{LOCAL_MODEL}", f"local/{LOCAL_MODEL}", f"the model local/{LOCAL_MODEL} is asked for"),
    ],
)
def test_choice(values: dict[str, Any], wanted: str | None, name: str, reason: str) -> None:
    choice = choose(LlmSettings(**values), wanted)
    assert (choice.name, choice.reason) == (name, reason)


@pytest.mark.parametrize(
    ("values", "wanted", "message"),
    [
        ({"provider": "openai"}, None, "OPENAI_API_KEY is not set"),
        ({"provider": "anthropic"} | OPENAI, None, "ANTHROPIC_API_KEY is not set"),
        ({"provider": "scripted"}, None, "ATOM_LLM__SCRIPTED_PATH is not set"),
        ({"provider": "openai", "openai_api_key": SecretStr("  ")}, None, "OPENAI_API_KEY is not set"),
        (OPENAI, "anthropic/claude", "ANTHROPIC_API_KEY is not set"),
        (OPENAI, "scripted", "ATOM_LLM__SCRIPTED_PATH is not set"),
        (OPENAI, "mistral/pro", "'mistral' in the model name 'mistral/pro' is not a provider"),
        (OPENAI, "OPENAI/gpt", "'OPENAI' in the model name"),
        (OPENAI, "openai/", "names a provider and no model"),
        (OPENAI, "/gpt", "is not the name of a model"),
        (OPENAI, "gpt 5", "is not the name of a model"),
        (OPENAI, "x" * 300, "is not the name of a model"),
        ({}, "gpt-5", f"The local provider has one model, {LOCAL_MODEL}"),
        ({"local": {"model_path": Path("/m/q.gguf")}}, f"local/{LOCAL_MODEL}", "The local provider has one model, q;"),
        ({}, "local/gpt-5", f"The local provider has one model, {LOCAL_MODEL}"),
    ],
)
def test_impossible_choice_says_what_to_set(values: dict[str, Any], wanted: str | None, message: str) -> None:
    with pytest.raises(ModelNotConfiguredError) as caught:
        choose(LlmSettings(**values), wanted)
    assert message in caught.value.message
    assert caught.value.hint
    assert "secret" not in str(caught.value)


@given(wanted=st.text(max_size=40))
def test_any_text_is_a_choice_or_a_clear_error(wanted: str) -> None:
    with suppress(ModelNotConfiguredError):
        choice = choose(LlmSettings(**OPENAI), wanted)  # type: ignore[arg-type]
        assert isinstance(choice, Choice)
        assert choice.provider is not Provider.SCRIPTED


def test_only_the_demo_model_comes_with_the_word_on_its_limits() -> None:
    own = LlmSettings(local=LocalModelSettings(model_path=Path("/m/smollm2-135m-instruct.gguf")))
    assert note_for(Provider.LOCAL, LlmSettings()) == LOCAL_NOTE
    assert note_for(Provider.LOCAL, own) is None
    assert note_for(Provider.SCRIPTED, own) == SCRIPTED_NOTE


def test_configured_providers() -> None:
    assert configured(LlmSettings()) == (Provider.LOCAL,)
    everything = LlmSettings(**(OPENAI | ANTHROPIC | SCRIPT))  # type: ignore[arg-type]
    assert configured(everything) == (Provider.OPENAI, Provider.ANTHROPIC, Provider.SCRIPTED, Provider.LOCAL)


@pytest.mark.parametrize("key", ["sk-proj-abcdefgh12345678", "openai/sk-abcdefgh12345678", "AKIA" + "Q" * 16])
def test_a_key_in_the_place_of_a_model_is_refused_and_not_said_again(key: str) -> None:
    with pytest.raises(ModelNotConfiguredError) as refused:
        choose(LlmSettings.model_validate(OPENAI), key)
    assert key not in f"{refused.value.message} {refused.value.hint}"


@pytest.mark.parametrize("field", ["openai_base_url", "anthropic_base_url", "gemini_base_url"])
@pytest.mark.parametrize("value", ["localhost:11434/v1", "htps://host/v1", "https://", "https://host:0", "http://a b/"])
def test_an_endpoint_that_is_no_address_is_told_at_the_start_by_its_setting(field: str, value: str) -> None:
    with pytest.raises(ValueError, match=field):
        LlmSettings.model_validate({field: value})


def test_an_empty_endpoint_is_none_and_an_address_stays_as_it_is() -> None:
    settings = LlmSettings(openai_base_url="", gemini_base_url="http://[::1]:11434/v1")
    assert (settings.openai_base_url, settings.gemini_base_url) == (None, "http://[::1]:11434/v1")
