"""What the model layer adds to the providers' own SDKs: latency, CPU, streaming; what its cache and its imports cost.

    .venv/bin/python bench/llm.py [--calls 50] [--rounds 5] [--json FILE]

Every figure is taken beside the bare SDK in the same process, against the same fake provider (a process of its own on
loopback, which sends ready-made bytes). Rounds of the two take turns, so that a busy machine is busy for both; what is
shown are medians of the rounds and their differences and ratios. `cpu` is the CPU time of this process for one call.
"""

import argparse
import asyncio
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anthropic
import openai
from google import genai
from google.genai import types
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from atom.infra.log import configure
from atom.kit.clock import SystemClock
from atom.llm.adapters.memory_cache import MemoryCache
from atom.llm.adapters.redis_cache import redis_cache
from atom.llm.cache import NoCache, ResponseCache
from atom.llm.directory import EnvironmentOnly
from atom.llm.metrics import LlmMetrics
from atom.llm.ports import ChatRequest, Message, Role
from atom.llm.service import LlmService, adapter_factories
from atom.settings import LlmSettings

SHORT, LONG = 20, 100  # tokens of a reply
STREAMS = 50
KEY = "sk-bench-0123456789abcdef"
PROMPT = "How long is a piece of string? " * 20
PROVIDERS = ("openai", "anthropic", "gemini")
ADAPTERS = ("openai", "anthropic", "gemini", "local", "scripted")
IMPORT_ROUNDS = 5
Streamed = AsyncIterator[str]


# The fake provider: three protocols, ready-made bytes.


def openai_events(tokens: int) -> Iterator[object]:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "fake"}
    for number in range(tokens):
        delta = {"role": "assistant", "content": ""} if number == 0 else {"content": f"word{number} "}
        yield base | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}], "usage": None}
    yield base | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": None}
    yield base | {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": tokens, "total_tokens": 9}}
    yield "[DONE]"


def anthropic_events(tokens: int) -> Iterator[object]:
    usage = {"input_tokens": 9, "output_tokens": 1}
    message = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "fake", "usage": usage}
    yield {"type": "message_start", "message": message | {"stop_reason": None, "stop_sequence": None}}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for number in range(tokens):
        delta = {"type": "text_delta", "text": f"word{number} "}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": ended, "usage": {"output_tokens": tokens}}
    yield {"type": "message_stop"}


def gemini_events(tokens: int) -> Iterator[object]:
    usage = {"promptTokenCount": 9, "candidatesTokenCount": tokens, "totalTokenCount": 9 + tokens}
    for number in range(tokens):
        ended = {"finishReason": "STOP"} if number == tokens - 1 else {}
        part = {"content": {"parts": [{"text": f"word{number} "}], "role": "model"}, "index": 0}
        yield {"candidates": [part | ended], "usageMetadata": usage, "modelVersion": "fake", "responseId": "r"}


def replies() -> dict[str, bytes]:
    """By the word that tells them in the path or the body of a request."""
    found: dict[str, bytes] = {}
    for name, events in (("openai", openai_events), ("anthropic", anthropic_events), ("gemini", gemini_events)):
        for size, tokens in (("short", SHORT), ("long", LONG)):
            found[f"{name}-{size}"] = b"".join(_chunk(_event(event)) for event in events(tokens)) + b"0\r\n\r\n"
    return found


def _event(event: object) -> bytes:
    kind = f"event: {event['type']}\n" if isinstance(event, dict) and "type" in event else ""
    return f"{kind}data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


async def serve() -> None:
    ready = replies()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:  # until the client hangs up
                asked = await reader.readuntil(b"\r\n\r\n")
                length = asked.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                asked += await reader.readexactly(int(length))
                name = next(name for name in ready if name.encode() in asked)
                writer.write(head + ready[name])
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)  # ends with the bench


@contextmanager
def fake_provider() -> Iterator[str]:
    command = [sys.executable, __file__, "--serve"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait(10)


# The two ways to ask: the SDK alone, and through the model layer.


class Bare:
    """The SDKs as their makers show them."""

    def __init__(self, url: str) -> None:
        self.openai = openai.AsyncOpenAI(api_key=KEY, base_url=f"{url}/v1", max_retries=0)
        self.anthropic = anthropic.AsyncAnthropic(api_key=KEY, base_url=f"{url}/anthropic", max_retries=0)
        self.gemini = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=f"{url}/gemini"))

    def ask(self, provider: str, model: str) -> Streamed:
        ways = {"openai": self._openai, "anthropic": self._anthropic, "gemini": self._gemini}
        return ways[provider](model)

    async def _openai(self, model: str) -> Streamed:
        async with await self.openai.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": PROMPT}],
            max_tokens=4096,
            stream=True,
            stream_options={"include_usage": True},
        ) as stream:
            async for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    yield chunk.choices[0].delta.content

    async def _anthropic(self, model: str) -> Streamed:
        async with await self.anthropic.messages.create(
            model=model, messages=[{"role": "user", "content": PROMPT}], max_tokens=4096, stream=True
        ) as stream:
            async for event in stream:
                if event.type == "content_block_delta" and event.delta.type == "text_delta":
                    yield event.delta.text

    async def _gemini(self, model: str) -> Streamed:
        config = types.GenerateContentConfig(max_output_tokens=4096)
        async for chunk in await self.gemini.aio.models.generate_content_stream(
            model=model, contents=PROMPT, config=config
        ):
            if chunk.text:
                yield chunk.text


def service(url: str, cache: ResponseCache | None = None) -> LlmService:
    settings = LlmSettings(
        openai_api_key=SecretStr(KEY), openai_base_url=f"{url}/v1",
        anthropic_api_key=SecretStr(KEY), anthropic_base_url=f"{url}/anthropic",
        gemini_api_key=SecretStr(KEY), gemini_base_url=f"{url}/gemini",
    )  # fmt: skip
    registry, clock = CollectorRegistry(), SystemClock()
    return LlmService(
        settings, adapter_factories(settings), LlmMetrics(registry), clock, EnvironmentOnly(settings),
        cache=cache or NoCache(),
    )  # fmt: skip


def question(temperature: float | None = None) -> ChatRequest:
    return ChatRequest("", (Message(Role.USER, PROMPT),), temperature=temperature)


@dataclass(slots=True)
class Timed:
    """One call: seconds in all, seconds to the first text, pieces of text."""

    seconds: float
    first: float
    pieces: int


Ask = Callable[[str, str], Awaitable[Timed]]


def bare_call(bare: Bare) -> Ask:
    async def call(provider: str, model: str) -> Timed:
        began, first, pieces = time.perf_counter(), 0.0, 0
        async for _ in bare.ask(provider, model):
            first = first or time.perf_counter() - began
            pieces += 1
        return Timed(time.perf_counter() - began, first, pieces)

    return call


def layer_call(llm: LlmService) -> Ask:
    async def call(provider: str, model: str) -> Timed:
        began, first, pieces = time.perf_counter(), 0.0, 0

        def show(attempt: int, offset: int, text: str) -> None:
            nonlocal first, pieces
            first = first or time.perf_counter() - began
            pieces += 1

        await llm.complete(f"{provider}/{model}", question(), show)
        return Timed(time.perf_counter() - began, first, pieces)

    return call


# What is measured.


@dataclass(slots=True)
class Side:
    """Medians of the rounds of one way to ask."""

    cpu_ms: list[float] = field(default_factory=list)
    call_ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    tokens_per_second: list[float] = field(default_factory=list)

    def median(self) -> dict[str, float]:
        return {name: round(statistics.median(getattr(self, name)), 3) for name in self.__slots__}


async def one_by_one(call: Ask, provider: str, calls: int, side: Side) -> None:
    cpu = time.process_time()
    timed = [await call(provider, f"{provider}-short") for _ in range(calls)]
    side.cpu_ms.append((time.process_time() - cpu) / calls * 1000)
    side.call_ms.append(statistics.median(one.seconds for one in timed) * 1000)
    side.first_ms.append(statistics.median(one.first for one in timed) * 1000)


async def at_once(call: Ask, provider: str, side: Side) -> None:
    began = time.perf_counter()
    timed = await asyncio.gather(*(call(provider, f"{provider}-long") for _ in range(STREAMS)))
    side.tokens_per_second.append(sum(one.pieces for one in timed) / (time.perf_counter() - began))


async def compare(url: str, provider: str, calls: int, rounds: int) -> dict[str, Any]:
    bare, llm = Bare(url), service(url)
    sides = {"bare": (bare_call(bare), Side()), "layer": (layer_call(llm), Side())}
    for call, _ in sides.values():  # connections, imports, price list
        await one_by_one(call, provider, 5, Side())
        await at_once(call, provider, Side())
    for _ in range(rounds):
        for call, side in sides.values():
            await one_by_one(call, provider, calls, side)
        for call, side in sides.values():
            await at_once(call, provider, side)
    await llm.aclose()
    medians = {name: side.median() for name, (_, side) in sides.items()}
    alone, ours = medians["bare"], medians["layer"]
    added = {name: round(ours[name] - alone[name], 3) for name in ("cpu_ms", "call_ms", "first_ms")}
    share = round(100 * ours["tokens_per_second"] / alone["tokens_per_second"], 1)
    return {**medians, "added": added, "stream_percent": share}


async def cache_hits(url: str, cache: ResponseCache, calls: int) -> float:
    """Milliseconds of a hit, median."""
    llm = service(url, cache)
    asked = question(temperature=0.0)
    await llm.complete("openai/openai-short", asked)
    seconds = []
    for _ in range(calls):
        began = time.perf_counter()
        done = await llm.complete("openai/openai-short", asked)
        seconds.append(time.perf_counter() - began)
        assert done.record.cache_hit
    await llm.aclose()
    return round(statistics.median(seconds) * 1000, 3)


@contextmanager
def own_redis() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="atom-bench-")
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(500):
            with socket.socket() as wire:
                if wire.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.01)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait(10)
        shutil.rmtree(folder)


def import_seconds(*modules: str) -> float:
    """Of the last one, after the others, in a fresh process; the median of some."""
    *before, last = modules
    first = "".join(f"import {name}\n" for name in before)
    code = f"{first}import time\nbegan = time.perf_counter()\nimport {last}\nprint(time.perf_counter() - began)"
    taken = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(IMPORT_ROUNDS)
    ]
    return round(statistics.median(taken), 3)


def imports() -> dict[str, float]:
    layer = "atom.llm.service"
    figures = {"layer alone": import_seconds(layer)}
    for name in ADAPTERS:
        figures[f"and {name}"] = import_seconds(layer, f"atom.llm.adapters.{name}")
    return figures | {"openai alone": import_seconds("openai")}


async def measure(calls: int, rounds: int) -> dict[str, Any]:
    configure("warning", None)
    figures: dict[str, Any] = {}
    with fake_provider() as url:
        for provider in PROVIDERS:
            figures[provider] = await compare(url, provider, calls, rounds)
        hits = {"in process": await cache_hits(url, MemoryCache(10_000_000, SystemClock()), calls * 4)}
        if shutil.which("redis-server"):
            with own_redis() as address:
                cache = redis_cache(address, timeout=1.0, max_bytes=10_000_000, clock=SystemClock())
                assert cache is not None
                hits["redis"] = await cache_hits(url, cache, calls * 4)
    figures["cache hit ms"] = hits
    figures["import seconds"] = imports()
    return figures


def goals(figures: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for provider in PROVIDERS:
        added, share = figures[provider]["added"], figures[provider]["stream_percent"]
        rows += [
            {"name": f"{provider}: added CPU a call", "value": added["cpu_ms"], "unit": "ms", "goal": 3.0},
            {"name": f"{provider}: added to the first token", "value": added["first_ms"], "unit": "ms", "goal": 5.0},
            {"name": f"{provider}: {STREAMS} streams of the SDK's", "value": share, "unit": "%", "goal": 80.0,
             "better": "higher"},
        ]  # fmt: skip
    bounds = {"in process": 1.0, "redis": 3.0}
    rows += [
        {"name": f"cache hit, {place}", "value": value, "unit": "ms", "goal": bounds[place]}
        for place, value in figures["cache hit ms"].items()
    ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
        return
    figures = asyncio.run(measure(options.calls, options.rounds))
    figures["rows"] = goals(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2), "utf-8")
    json.dump(figures, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
