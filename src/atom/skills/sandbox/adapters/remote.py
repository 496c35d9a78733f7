"""A sandbox that another process holds: the runner."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import structlog

from atom.errors import AtomError, UnavailableError
from atom.skills.layers.models import Layer, Wanted
from atom.skills.sandbox.models import ExitReason, Report, Result, Spec
from atom.skills.sandbox.runner.address import Address
from atom.skills.sandbox.runner.handshake import WrongKeyError, introduce
from atom.skills.sandbox.runner.messages import BadMessageError, Failed, Reply, Request, receive, running, send
from atom.skills.sandbox.runner.results import most_bytes, wrong

QUEUE_SECONDS = 600.0  # for a turn
GRACE_SECONDS = 60.0  # beyond the program's own limit, and what the runner allows itself
ASK_SECONDS = 30.0
BUILD_SECONDS = 900.0
MOST_TOLD = 8 << 20  # bytes of what a runner says beside the result of a program
log = structlog.get_logger(service="skill_sandbox")


class RunnerUnavailableError(UnavailableError):
    """Nobody answers at the runner's address, or whoever answers there is no runner of this Atom."""

    code = "sandbox_unavailable"


class BuildError(AtomError):
    """What kept the runner from installing packages, as it says it."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.message, hint=failed.hint)
        self.kind, self.code = failed.kind, failed.code


@dataclass(frozen=True, slots=True)
class Ran:
    """`layer`: the packages that it could import from."""

    result: Result
    layer: Layer | None = None


@dataclass(frozen=True, slots=True)
class RemoteSandbox:
    """`key` is known to the runner as well. `queue_seconds`: for it to take a program, and for a turn."""

    address: Address
    key: bytes
    queue_seconds: float = QUEUE_SECONDS

    async def report(self) -> Report:
        """What its canaries saw at its start. Raises RunnerUnavailableError."""
        reply = await self._ask(Request(do="report"))
        if reply.report is None:
            raise RunnerUnavailableError(reply.refused or "The runner told nothing.")
        return reply.report

    async def kill(self, execution_id: UUID) -> bool:
        """Raises RunnerUnavailableError."""
        return bool((await self._ask(Request(do="kill", id=execution_id))).done)

    async def build(self, wanted: Wanted, *, again: bool = False) -> Layer:
        """Install packages where the runner is. Raises RunnerUnavailableError, BuildError as the runner says it."""
        reply = await self._ask(Request(do="build", wanted=wanted, again=again), seconds=BUILD_SECONDS)
        if reply.failed is not None:
            raise BuildError(reply.failed)
        if reply.layer is None:
            raise RunnerUnavailableError(reply.refused or "The runner told nothing.")
        return reply.layer

    async def run(self, spec: Spec) -> Result:
        """Without packages: as the port has it."""
        return (await self.execute(spec, None)).result

    async def execute(self, spec: Spec, wanted: Wanted | None) -> Ran:
        """With the layer of the packages that are `wanted`, where it was built. Never raises for an engine that is away
        or breaks: the result says so. A cancelled call ends the program."""
        began = False
        try:
            async with self._connected() as (reader, writer):
                async with asyncio.timeout(self.queue_seconds):
                    await send(writer, running(spec, wanted))
                    reply = await receive(reader, Reply, most=most_bytes(spec.limits))
                began = reply.began
                if began:
                    async with asyncio.timeout(spec.limits.seconds + GRACE_SECONDS):
                        reply = await receive(reader, Reply, most=most_bytes(spec.limits))
        except RunnerUnavailableError as error:
            return Ran(missing(spec, error.message))
        except TimeoutError:
            late = "The runner did not answer in time." if began else "No turn came: too much runs."
            return Ran(_failed(spec, late))
        except (EOFError, OSError):
            return Ran(_failed(spec, "The runner went away."))
        except BadMessageError as error:
            return Ran(_failed(spec, f"The runner said what nobody may say: {error}."))
        if reply.refused:
            return Ran(missing(spec, reply.refused))
        if reply.result is None:
            return Ran(_failed(spec, "The runner gave no result."))
        lie = wrong(reply.result, spec)
        if lie:
            return Ran(_failed(spec, f"The runner gave a result that none can be: {lie}."))
        return Ran(reply.result, reply.layer)

    async def _ask(self, request: Request, *, seconds: float = ASK_SECONDS) -> Reply:
        try:
            async with asyncio.timeout(seconds), self._connected() as (reader, writer):
                await send(writer, request)
                return await receive(reader, Reply, most=MOST_TOLD)
        except (EOFError, OSError, TimeoutError, BadMessageError) as error:
            raise RunnerUnavailableError(f"The sandbox's runner at {self.address} does not answer.") from error

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
        hint = "`atom serve --role sandbox` starts one; `atom skills sandbox probe` shows what works on a machine."
        try:
            reader, writer = await self.address.connect()
        except (OSError, TimeoutError) as error:
            raise RunnerUnavailableError(f"No runner of the sandbox is at {self.address}.", hint=hint) from error
        try:
            try:
                await introduce(reader, writer, self.key)
            except (WrongKeyError, EOFError, TimeoutError, OSError) as error:
                why = "does not know the key" if isinstance(error, EOFError | WrongKeyError) else "does not answer"
                raise RunnerUnavailableError(f"Who listens at {self.address} {why}.", hint=hint) from error
            yield reader, writer
        except BaseException:
            writer.transport.abort()  # what was not sent yet is for nobody
            raise
        finally:
            writer.close()


def missing(spec: Spec, detail: str) -> Result:
    """Without a backend's name: there was none."""
    return Result(id=spec.id, backend="", reason=ExitReason.ENGINE, detail=detail)


def _failed(spec: Spec, detail: str) -> Result:
    log.warning("sandbox.engine_failed", execution_id=str(spec.id), detail=detail)
    return Result(id=spec.id, backend="runner", reason=ExitReason.ENGINE, detail=detail)
