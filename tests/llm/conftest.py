"""The two SDK adapters against a fake provider on a real socket."""

import importlib
import logging
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
import structlog
from llmock.ratelimit import LimitSettings
from llmock.testing import LLMockServer
from pydantic import SecretStr

from atom.llm.access import environment_access
from atom.llm.errors import ModelError
from atom.llm.ports import ChatModel
from atom.settings import LlmSettings, Provider
from tests.support.fault_report import WRITTEN
from tests.support.own_redis import own_redis
from tests.support.planted import planted

__all__ = ["own_redis"]
CANARY = planted("adapters", "sk-canary-4f9a7b2e81d6c350aa17")

Build = Callable[..., ChatModel]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    said = config.stash.get(WRITTEN, "")
    if said:
        terminalreporter.section("provider faults")
        terminalreporter.write_line(said)


@pytest.fixture(scope="session")
def mock_server() -> Iterator[LLMockServer]:
    with LLMockServer() as server:
        yield server


@pytest.fixture
def mock(mock_server: LLMockServer) -> LLMockServer:
    mock_server.state.reset()
    mock_server.state.limiter.configure(LimitSettings())
    return mock_server


@pytest.fixture
def canary() -> str:
    return CANARY


@pytest.fixture
def llm_settings() -> Callable[..., LlmSettings]:
    """Settings whose providers are at `url`, with the canary as their key."""

    def make(url: str, **changes: Any) -> LlmSettings:
        values: dict[str, Any] = {
            "openai_api_key": SecretStr(CANARY),
            "anthropic_api_key": SecretStr(CANARY),
            "openai_base_url": f"{url}/v1",
            "anthropic_base_url": f"{url}/anthropic",
            "gemini_api_key": SecretStr(CANARY),
            "gemini_base_url": f"{url}/gemini",
        }
        return LlmSettings(**(values | changes))

    return make


@pytest_asyncio.fixture
async def adapter(llm_settings: Callable[..., LlmSettings]) -> AsyncIterator[Build]:
    """Builds an adapter for a provider at an address; all are closed in the end."""
    opened: list[ChatModel] = []

    def build(provider: Provider, url: str, **changes: Any) -> ChatModel:
        module = importlib.import_module(f"atom.llm.adapters.{provider}")
        settings = llm_settings(url, **changes)
        model: ChatModel = module.build(environment_access(settings, provider), settings)
        opened.append(model)
        return model

    yield build
    for model in opened:
        await model.aclose()


@pytest.fixture
def no_leak(caplog: pytest.LogCaptureFixture, canary: str) -> Iterator[Callable[[ModelError], None]]:
    """Checks an error, and in the end everything logged at debug level, for the key or a part of it."""
    caplog.set_level(logging.DEBUG)
    part = canary[:7]

    def check(error: ModelError) -> None:
        said = [str(error), repr(error.details), repr(error.args), "".join(traceback.format_exception(error))]
        assert not [text for text in said if part in text]

    with structlog.testing.capture_logs() as events:
        yield check
    assert part not in caplog.text
    assert part not in repr(events)
