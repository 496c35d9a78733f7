"""Fakes and builders for tests of whatever calls a model."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from atom.kit.ids import new_id
from atom.llm.adapters.script import Reply, play
from atom.llm.errors import ModelRequestError
from atom.llm.ports import ChatRequest, Completion, Message, Role, TextDelta, ToolCall
from atom.settings import Provider

Scripted = str | Reply | Completion | ToolCall | Sequence[str] | Sequence[ToolCall] | BaseException


class ScriptedModel:
    """Gives its replies in order, one a request: `ScriptedModel("thinking", call("read_file", path="a"), "DONE 42")`.

    A text, a list of texts (the pieces of a stream), tool calls, a whole `Completion`, a `Reply` (with waits, or an
    error after some pieces), or an exception that is raised. `asked` holds the requests. After the last reply: refused.
    """

    def __init__(self, *replies: Scripted, provider: str = Provider.SCRIPTED) -> None:
        self.replies = list(replies)
        self.asked: list[ChatRequest] = []
        self.closed = 0  # streams that were ended, by their end or by their reader
        self._provider = provider

    @property
    def provider(self) -> str:
        return self._provider

    async def stream(self, request: ChatRequest) -> AsyncIterator[TextDelta | Completion]:
        self.asked.append(request)
        try:
            if len(self.asked) > len(self.replies):
                message = f"The scripted model was asked {len(self.asked)} times and has {len(self.replies)} replies."
                raise ModelRequestError(message, provider=self.provider, model=request.model)
            reply = self.replies[len(self.asked) - 1]
            if isinstance(reply, Completion):
                yield TextDelta(reply.text)
                yield reply
                return
            async for item in play(_to_reply(reply), request):
                yield item
        finally:
            self.closed += 1

    async def models(self) -> list[str]:
        return ["scripted"]

    async def aclose(self) -> None:
        """Nothing is open."""


def call(name: str, **arguments: object) -> ToolCall:
    """A tool call with an id of its own."""
    return ToolCall(id=f"call_{new_id().hex}", name=name, arguments=json.dumps(arguments))


def ask(text: str, *earlier: Message, model: str = "scripted") -> ChatRequest:
    """A request whose last message is the user's."""
    return ChatRequest(model=model, messages=(*earlier, Message(Role.USER, text)))


def _to_reply(reply: str | Reply | ToolCall | Sequence[str] | Sequence[ToolCall] | BaseException) -> Reply:
    if isinstance(reply, Reply):
        return reply
    if isinstance(reply, str):
        return Reply(reply)
    if isinstance(reply, BaseException):
        return Reply(error=reply)
    if isinstance(reply, ToolCall):
        return Reply(tool_calls=(reply,))
    calls = tuple(item for item in reply if isinstance(item, ToolCall))
    return Reply(chunks=tuple(item for item in reply if isinstance(item, str)), tool_calls=calls)


@dataclass(slots=True)
class CannedProvider:
    """A loopback HTTP server that answers with the bytes it is given: for what no well-behaved provider sends.

    One answer a request, the last one staying; a number in an answer is a pause in seconds. `gone` is set when a client
    hung up before its answer was complete.
    """

    answers: list[Sequence[bytes | float]]
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._receive(reader)
            answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
            hangup = asyncio.ensure_future(reader.read(1))
            for part in answer:
                if isinstance(part, bytes):
                    writer.write(part)
                    await writer.drain()
                elif (await asyncio.wait({hangup}, timeout=part))[0]:
                    self.gone.set()
                    break
            hangup.cancel()
        except ConnectionError:
            self.gone.set()
        finally:
            writer.close()

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        pairs = (line.partition(":") for line in head.split("\r\n")[1:] if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.headers.append(headers)
        self.paths.append(head.split(" ", 2)[1])
        self.requests.append(json.loads(body) if body else {})


def http(status: int, body: object = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """One whole answer; a body that is not bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Said", f"content-length: {len(data)}", "content-type: application/json"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode() + data


def sse(*events: object, start: bool = True) -> bytes:
    """Server-sent events (a stream's head first, unless `start` is false); a text is sent as it is."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" if start else b""
    lines = []
    for event in events:
        kind = f"event: {event['type']}\n" if isinstance(event, Mapping) and "type" in event else ""
        lines.append(event if isinstance(event, str) else f"{kind}data: {json.dumps(event)}\n\n")
    return head + "".join(lines).encode()
