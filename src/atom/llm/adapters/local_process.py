"""The process that the local model runs in: started when needed, asked in turns, replaced when it dies or hangs."""

import asyncio
import contextlib
import itertools
import json
import os
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog

from atom.llm.choice import LOCAL_MODEL
from atom.llm.errors import (
    MalformedReplyError,
    ModelRateLimitedError,
    ModelRequestError,
    ModelTimeoutError,
    ModelUnavailableError,
)
from atom.settings import Provider

CHILD = "atom.llm.adapters.local_server"
MAX_WAITING = 16
MAX_REQUEST_BYTES = 30_000_000
MAX_MESSAGE_BYTES = 1_000_000
STOP_SECONDS = 5.0
INHERITED = ("PATH", "LANG", "LC_ALL", "TMPDIR", "HOME", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV")
log = structlog.get_logger(service="byok")
Message = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds: to load the model, and for one turn of it, waiting for one's own turn included."""

    start: float = 30.0
    turn: float = 30.0


@dataclass(frozen=True, slots=True)
class Subject:
    """The model that the child loads: its name, the tokens it sees at once in each of its slots, its threads, and what
    to look at when it does not load. As it stands: the demo model, whose two kinds of turns have a slot each. Two
    threads of it are slower on two busy cores."""

    name: str = LOCAL_MODEL
    context: int = 2_048
    slots: int = 2
    threads: int = 1
    advice: str = "Too little memory is the usual reason: it needs 300 MB."

    @property
    def arguments(self) -> tuple[str, ...]:
        return str(self.context), str(self.slots), str(self.threads)


class LocalProcess:
    """Speaks to one child. A turn that fails, hangs or is given up leaves no half answer for the next one."""

    def __init__(
        self, weights: Callable[[], Path], deadlines: Deadlines | None = None, subject: Subject | None = None
    ) -> None:
        self._weights, self._deadlines = weights, deadlines or Deadlines()
        self._subject = subject or Subject()
        self._names: Mapping[str, Any] = {"provider": Provider.LOCAL, "model": self._subject.name}
        self._turn, self._waiting = asyncio.Lock(), 0
        self._numbers = itertools.count(1)
        self._child: _Child | None = None
        self.starts = 0

    @property
    def pid(self) -> int | None:
        return self._child.process.pid if self._child is not None else None

    async def ask(self, request: Mapping[str, Any]) -> AsyncGenerator[Message, None]:
        """`{"text": ...}` as it comes, then one `{"done": {...}}`. Raises ModelError and ModelNotConfiguredError;
        ModelRequestError for what this model cannot take (too long, a schema that it cannot follow).

        Close it (`contextlib.aclosing`) when it is left early: that ends the turn and lets the next caller in.
        """
        await self._enter()
        finished = False
        try:
            child = await self._ready()
            number, ends = next(self._numbers), _in(self._deadlines.turn)
            await self._bounded(child.send(self._written({**request, "id": number})), ends)
            while not finished:  # bounded by the deadline and by the tokens of the request
                message = await self._bounded(child.receive(), ends)
                if message.get("id") != number:  # the rest of a turn that was given up
                    continue
                finished = "text" not in message
                if message.get("error"):
                    kind = ModelRequestError if message.get("refused") else MalformedReplyError
                    raise kind(f"The local model failed: {message['error'][:200]}", **self._names)
                yield message
        finally:
            if not finished and self._child is not None:
                self._child.cancel()
            self._turn.release()

    async def aclose(self) -> None:
        await self._stop("closed")

    def _written(self, message: Message) -> bytes:
        line = json.dumps(message).encode() + b"\n"
        if len(line) > MAX_REQUEST_BYTES:
            raise ModelRequestError("The request is longer than any local model can take.", **self._names)
        return line

    async def _enter(self) -> None:
        """Takes the turn. Who waits too long is sent away, and the one who is served is left alone."""
        if self._waiting >= MAX_WAITING:
            raise ModelRateLimitedError(
                f"{MAX_WAITING} requests wait for the local model already.",
                hint="Connect a real model for more than a few runs at once.",
                retry_after=1.0,
                **self._names,
            )
        self._waiting += 1
        try:
            async with asyncio.timeout(self._deadlines.turn):
                await self._turn.acquire()
        except TimeoutError as error:
            raise ModelTimeoutError("The local model is busy with other requests.", **self._names) from error
        finally:
            self._waiting -= 1

    async def _bounded(self, work: Awaitable[T], ends: float) -> T:
        """A step with the child. When the child is late or gone, it is ended, and the next call starts another."""
        try:
            async with asyncio.timeout_at(ends):
                return await work
        except TimeoutError as error:
            await self._stop("timeout")
            raise ModelTimeoutError(
                "The local model did not answer in time; it is started again.", **self._names
            ) from error
        except (EOFError, ConnectionError, ValueError) as error:
            code = await self._stop("died")
            raise ModelUnavailableError(
                f"The process of the local model ended (exit code {code}).",
                hint=f"It is started again with the next call. {self._subject.advice}",
                **self._names,
            ) from error

    async def _ready(self) -> "_Child":
        if self._child is not None and self._child.process.returncode is None:
            return self._child
        await self._stop("ended")
        self._child = await _Child.start(await asyncio.to_thread(self._weights), self._subject.arguments)
        self.starts += 1
        hello = await self._bounded(self._child.receive(), _in(self._deadlines.start))
        log.info("llm.local_model_loaded", seconds=hello.get("ready"), pid=self.pid, starts=self.starts)
        return self._child

    async def _stop(self, reason: str) -> int | None:
        child, self._child = self._child, None
        if child is None:
            return None
        code = await child.stop()
        log.info("llm.local_model_stopped", reason=reason, exit_code=code)
        return code


class _Child:
    """A running child and our end of its socket."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.process, self._reader, self._writer = process, reader, writer

    @classmethod
    async def start(cls, weights: Path, how: tuple[str, ...]) -> "_Child":
        """In a session of its own (Ctrl-C is for the parent, which drains), with no secret in its environment."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", CHILD, str(theirs.fileno()), str(os.getpid()), str(weights), *how),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env={name: os.environ[name] for name in INHERITED if name in os.environ},
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_MESSAGE_BYTES)
        return cls(process, reader, writer)

    async def send(self, line: bytes) -> None:
        self._writer.write(line)
        await self._writer.drain()

    def cancel(self) -> None:
        """Any word from us ends the turn that is running."""
        if not self._writer.is_closing():
            self._writer.write(b'{"op": "cancel"}\n')

    async def receive(self) -> Message:
        """The next message. Raises EOFError when the child is gone."""
        line = await self._reader.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        message: Message = json.loads(line)
        return message

    async def stop(self) -> int | None:
        """It holds nothing that could be lost, so it is killed, and its end is awaited."""
        self._writer.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        async with asyncio.timeout(STOP_SECONDS):
            return await self.process.wait()


def _in(seconds: float) -> float:
    """That moment on the loop's clock."""
    return asyncio.get_running_loop().time() + seconds
