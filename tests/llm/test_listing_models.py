"""What a provider may answer when it is asked for its models, and what becomes of it."""

import asyncio
from collections.abc import Callable

import pytest

from atom.llm.errors import ModelError
from atom.llm.ports import ChatModel, ListsModels
from atom.settings import Provider
from tests.support.echo_provider import echoing

HOWS = (
    "401",
    "403",
    "404",
    "429",
    "500",
    "page",
    "garbage",
    "finish",
    "cut",
    "list",
    "text",
    "null",
    "numbers",
    "names",
)


@pytest.mark.parametrize("provider", [Provider.OPENAI, Provider.ANTHROPIC, Provider.GEMINI])
@pytest.mark.parametrize("how", HOWS)
async def test_whatever_it_answers_is_a_list_or_an_error_of_the_provider(
    adapter: Callable[..., ChatModel], canary: str, provider: Provider, how: str
) -> None:
    with echoing() as server:
        urls = {f"{name}_base_url": f"{server.url}/{how}" for name in ("openai", "anthropic", "gemini")}
        model = adapter(provider, "http://127.0.0.1:1", **urls)
        assert isinstance(model, ListsModels)
        async with asyncio.timeout(20):
            try:
                said = repr(await model.models())
            except ModelError as error:
                said = str(error)
    assert said == "[]" or not said.startswith("[") or how == "names"
    assert not [canary[at : at + 8] for at in range(len(canary) - 7) if canary[at : at + 8] in said]
