"""Only the SDK of the provider in use is imported: each of the others would cost a second of start and its memory."""

import json
import subprocess
import sys

import pytest
from llmock.testing import LLMockServer

SDKS = {"openai": "openai", "anthropic": "anthropic", "gemini": "google.genai"}
CALL = """
import asyncio, json, sys
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from atom.kit.clock import SystemClock
from atom.llm.directory import EnvironmentOnly
from atom.llm.metrics import LlmMetrics
from atom.llm.ports import ChatRequest, Message, Role
from atom.llm.service import LlmService, adapter_factories
from atom.settings import LlmSettings

async def main(url, provider):
    before = [name for name in SDKS if name in sys.modules]
    key = SecretStr("sk-a-key-of-nobody")
    settings = LlmSettings(
        openai_api_key=key, openai_base_url=f"{url}/v1",
        anthropic_api_key=key, anthropic_base_url=f"{url}/anthropic",
        gemini_api_key=key, gemini_base_url=f"{url}/gemini",
    )
    llm = LlmService(
        settings, adapter_factories(settings), LlmMetrics(CollectorRegistry()), SystemClock(), EnvironmentOnly(settings)
    )
    done = await llm.complete(f"{provider}/some-model", ChatRequest("", (Message(Role.USER, "Hello"),)))
    await llm.aclose()
    after = [name for name in SDKS if name in sys.modules]
    print(json.dumps({"before": before, "after": after, "answered": bool(done.completion.text)}))
"""


@pytest.mark.parametrize("provider", SDKS)
def test_a_call_imports_the_sdk_of_its_provider_and_no_other(mock: LLMockServer, provider: str) -> None:
    code = f"SDKS = {tuple(SDKS.values())}\n{CALL}\nasyncio.run(main({mock.url!r}, {provider!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {"before": [], "after": [SDKS[provider]], "answered": True}
