"""The engine's HTTP interface over its Unix socket. Every call has a time limit, and one error."""

import asyncio
import json
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx2

from atom.errors import InvalidError

SCHEME = "unix://"
CALL_SECONDS = 30.0
FIND_SECONDS = 5.0
CONNECTIONS = httpx2.Limits(max_connections=None, max_keepalive_connections=2)
HEAD_BYTES = 65_536
FRAME_HEAD = 8
FRAME_BYTES = 4 << 20  # engines send 32 KiB at most
STDOUT, STDERR = 1, 2
SAID_BYTES = 2000


class EngineError(Exception):
    """In a sentence. `status` is that of its HTTP answer; 0: there was none."""

    def __init__(self, said: str, status: int = 0) -> None:
        super().__init__(said)
        self.status = status


@dataclass(slots=True)
class Attached:
    """The standard streams of a container's first process."""

    reader: StreamReader
    writer: StreamWriter
    waiting: bytearray
    said: bytearray  # on its standard error: what went wrong with it

    async def exactly(self, count: int) -> bytes:
        """From its standard output. Raises EngineError at its end."""
        try:
            while len(self.waiting) < count:
                await self._frame()
        except (OSError, EOFError) as error:
            raise EngineError(f"The container ended. {self.said.decode('utf-8', 'replace').strip()}".strip()) from error
        taken = bytes(self.waiting[:count])
        del self.waiting[:count]
        return taken

    async def send(self, body: bytes) -> None:
        try:
            self.writer.write(body)
            await self.writer.drain()
        except OSError as error:
            raise EngineError("The container took no input.") from error

    def hang_up(self) -> None:
        """Its standard input ends, its output goes on."""
        if self.writer.can_write_eof() and not self.writer.is_closing():
            self.writer.write_eof()

    @property
    def ended(self) -> bool:
        return self.reader.at_eof() or self.writer.is_closing()

    def close(self) -> None:
        self.writer.close()

    async def _frame(self) -> None:
        head = await self.reader.readexactly(FRAME_HEAD)
        size = int.from_bytes(head[4:], "big")
        if size > FRAME_BYTES:
            raise EngineError("The engine's stream is not one of Docker.")
        body = await self.reader.readexactly(size)
        if head[0] == STDOUT:
            self.waiting += body
        elif head[0] == STDERR:
            self.said += body[: SAID_BYTES - len(self.said)]


@dataclass(slots=True)
class Engine:
    """`host` is `unix:///path`, for an engine elsewhere has other files; `seconds` bounds each call.

    Raises InvalidError for another host.
    """

    host: str
    seconds: float = CALL_SECONDS
    client: httpx2.AsyncClient | None = None

    def __post_init__(self) -> None:
        if not self.host.startswith(SCHEME):
            raise InvalidError(f"The engine of the sandbox is named by {SCHEME}/path.", field="sandbox.docker_host")

    @property
    def path(self) -> str:
        return self.host.removeprefix(SCHEME)

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, str | int] | None = None,
        seconds: float | None = None,
    ) -> Any:
        """Its answer (JSON; None when empty). Raises EngineError, also for an answer that says no."""
        answer = await self._call(method, path, body, query, seconds or self.seconds)
        try:
            return answer.json() if answer.content else None
        except ValueError as error:
            raise EngineError(f"The engine's answer is no JSON: {error}") from error

    async def saw(self, event: str, container: str) -> bool:
        """Whether it saw that happen to a container, also to one that is gone. Raises EngineError."""
        filters = json.dumps({"container": [container], "event": [event]})
        query = {"since": "0", "until": f"{time.time():.9f}", "filters": filters}
        return bool((await self._call("GET", "/events", None, query, self.seconds)).content)

    async def attach(self, container: str) -> Attached:
        """Before it is started, so that nothing is missed. Raises EngineError."""
        line = f"POST /containers/{quote(container)}/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\n"
        head = f"{line}Host: engine\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
        writer: StreamWriter | None = None
        try:
            async with asyncio.timeout(self.seconds):
                reader, writer = await asyncio.open_unix_connection(self.path, limit=HEAD_BYTES)
                writer.write(head.encode("ascii"))
                answer = await reader.readuntil(b"\r\n\r\n")
        except (OSError, EOFError, asyncio.LimitOverrunError, TimeoutError) as error:
            if writer is not None:
                writer.close()
            raise EngineError(f"The engine did not attach: {type(error).__name__} {error}") from error
        status = answer.split(b" ", 2)[1:2]
        if status not in ([b"101"], [b"200"]):
            writer.close()
            raise EngineError(f"The engine did not attach: {answer[:200].decode('ascii', 'replace')}")
        return Attached(reader, writer, bytearray(), bytearray())

    async def close(self) -> None:
        client, self.client = self.client, None
        if client is not None:
            await client.aclose()

    async def _call(
        self, method: str, path: str, body: object, query: Mapping[str, str | int] | None, seconds: float
    ) -> httpx2.Response:
        if self.client is None:
            transport = httpx2.AsyncHTTPTransport(uds=self.path, limits=CONNECTIONS)
            self.client = httpx2.AsyncClient(transport=transport, base_url="http://engine", trust_env=False)
        try:
            async with asyncio.timeout(seconds):
                answer = await self.client.request(method, path, json=body, params=query, timeout=None)
        except httpx2.ConnectError as error:
            raise EngineError(f"No engine answers at {self.host} ({error}).") from error
        except TimeoutError as error:
            raise EngineError(f"The engine at {self.host} did not answer within {seconds:g} s.") from error
        except httpx2.HTTPError as error:
            raise EngineError(f"The engine broke: {type(error).__name__} {error}") from error
        if not answer.is_success:
            raise EngineError(f"The engine says: {_message(answer)}", answer.status_code)
        return answer


def _message(answer: httpx2.Response) -> str:
    try:
        said = answer.json()["message"]
    except (ValueError, KeyError, TypeError):
        said = answer.text
    return f"{said}"[:500].strip()
