"""A runner's door: who knows the key may have programs run in its sandbox, and nothing else."""

import asyncio
import os
from asyncio import StreamReader, StreamWriter
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from atom.errors import AtomError
from atom.kit.text import shorten
from atom.skills.layers.errors import BuildFailedError
from atom.skills.layers.service import Layers
from atom.skills.sandbox.errors import NoSandboxError
from atom.skills.sandbox.models import Report
from atom.skills.sandbox.ports import Sandbox
from atom.skills.sandbox.runner.handshake import WrongKeyError, admit
from atom.skills.sandbox.runner.messages import (
    MOST_WORDS,
    BadMessageError,
    Failed,
    Reply,
    Request,
    ended,
    receive,
    reported,
    send,
)

PER_PROCESSOR = 2  # programs at once: they wait for their interpreter's files about half of a short life
MOST_CONNECTIONS = 256
REQUEST_SECONDS = 60.0
STOP_SECONDS = 30.0
log = structlog.get_logger(service="skill_sandbox")


@dataclass(slots=True)
class Runner:
    """`sandbox` None: none works here, and every request is told `why`. `layers` None: no packages, for `no_layers`."""

    key: bytes
    sandbox: Sandbox | None
    report: Report | None
    why: NoSandboxError | None = None
    layers: Layers | None = None
    no_layers: AtomError | None = None
    turns: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(PER_PROCESSOR * len(os.sched_getaffinity(0)))
    )
    answering: "set[asyncio.Task[None]]" = field(default_factory=set)

    async def drain(self, seconds: float) -> None:
        """Let what runs come to its end, for so long."""
        if self.answering and seconds > 0:
            log.info("sandbox.draining", running=len(self.answering), seconds=seconds)
            await asyncio.wait(self.answering, timeout=seconds)

    async def stop(self) -> None:
        """End what runs, and the sandbox."""
        for task in self.answering:
            task.cancel()
        if self.answering:
            await asyncio.wait(self.answering, timeout=STOP_SECONDS)
        if self.sandbox is not None:
            await self.sandbox.close()

    async def answer(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One connection, one request."""
        task = asyncio.current_task()
        assert task is not None
        self.answering.add(task)
        try:
            if len(self.answering) > MOST_CONNECTIONS:
                log.warning("sandbox.runner_full", connections=len(self.answering))
                return
            await admit(reader, writer, self.key)
            async with asyncio.timeout(REQUEST_SECONDS):
                request = await receive(reader, Request)
            await self._serve(request, reader, writer)
        except WrongKeyError as error:
            log.warning("sandbox.stranger_refused", error_code="wrong_key", why=str(error))
        except BadMessageError as error:
            log.warning("sandbox.message_refused", error_code="bad_message", why=str(error))
        except (EOFError, TimeoutError, OSError):
            log.info("sandbox.connection_lost")
        except asyncio.CancelledError:  # by `stop`, or because the process ends: nobody waits for this task
            log.info("sandbox.connection_ended")
        finally:
            self.answering.discard(task)
            writer.close()

    async def _serve(self, request: Request, reader: StreamReader, writer: StreamWriter) -> None:
        if self.sandbox is None or self.report is None:
            await send(writer, Reply(refused=shorten(str(self.why), MOST_WORDS)))
        elif request.do == "report":
            await send(writer, reported(self.report))
        elif request.do == "build" and request.wanted is not None:
            await self._alone(self._build(request, writer), reader)
        elif request.do == "kill" and request.id is not None:
            await send(writer, Reply(done=await self.sandbox.kill(request.id)))
        elif request.do == "run" and request.spec is not None:
            if request.spec.layers:  # folders of this machine, that a program could read
                raise BadMessageError("layers are for the runner to choose")
            await self._alone(self._in_turn(self.sandbox, request, writer), reader)
        else:
            raise BadMessageError(f"nothing to {request.do}")

    async def _alone(self, doing: Coroutine[Any, Any, None], reader: StreamReader) -> None:
        """A caller who goes away ends it."""
        work = asyncio.create_task(doing)
        gone = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                log.info("sandbox.caller_gone")
                work.cancel()
            with suppress(asyncio.CancelledError):
                await work
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.wait({work, gone})
            if not gone.cancelled():
                gone.exception()  # one that was cut off is gone, too

    async def _in_turn(self, sandbox: Sandbox, request: Request, writer: StreamWriter) -> None:
        assert request.spec is not None
        spec, layer = request.spec, None
        async with self.turns:
            await send(writer, Reply(began=True))
            if request.wanted and self.layers is not None:
                layer = await self.layers.find(request.wanted)
            if layer is not None:
                spec = replace(spec, layers=(str(layer.folder),))
            result = await sandbox.run(spec)
        await send(writer, ended(result, layer))

    async def _build(self, request: Request, writer: StreamWriter) -> None:
        assert request.wanted is not None
        try:
            if self.layers is None:
                raise self.no_layers or BuildFailedError("Nothing is installed here.", hint="Look at the runner's log.")
            layer = await self.layers.build(request.wanted, again=request.again)
        except AtomError as error:
            message, hint = shorten(error.message, MOST_WORDS), shorten(error.hint, MOST_WORDS)
            failed = Failed(kind=error.kind, code=error.code, message=message, hint=hint)
            return await send(writer, Reply(failed=failed))
        return await send(writer, Reply(layer=layer))
