"""The Docker backend: a fresh container for each execution, started beforehand where it can be."""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote
from uuid import UUID

import structlog

from atom.kit.clock import Clock, SystemClock
from atom.skills.sandbox import canaries, outcome
from atom.skills.sandbox.adapters.docker import owners, replies
from atom.skills.sandbox.adapters.docker.container import Container, Shape
from atom.skills.sandbox.adapters.docker.engine import FIND_SECONDS, EngineError
from atom.skills.sandbox.adapters.docker.pool import Pool
from atom.skills.sandbox.adapters.supervised import asked, environment, gone
from atom.skills.sandbox.languages import LAUNCH, OPTIONS, Interpreter
from atom.skills.sandbox.models import NEEDS, Evidence, ExitReason, Guarantee, Language, Level, Report, Result, Spec
from atom.skills.sandbox.place import NOBODY, Place
from atom.skills.sandbox.supervisor import wire

log = structlog.get_logger(__name__)

GRACE_SECONDS = 30.0  # beyond the program's own limit: to begin and to end on a busy machine
GVISOR = "runsc"
BUILD = "docker build -t {image} -f docker/Dockerfile.sandbox ."


@dataclass(slots=True)
class Execution:
    """One that is under way; `container` once it has one. `killed`: somebody asked for its end."""

    container: Container | None = None
    killed: bool = False


@dataclass(slots=True)
class DockerSandbox:
    """`runtime`: None takes gVisor's where the engine has it and it keeps enough.

    `interpreters` are those of the image, known once it was probed.
    """

    place: Place
    pool: Pool
    runtime: str | None = None
    name: str = "docker"
    clock: Clock = field(default_factory=SystemClock)
    report: Report | None = None
    interpreters: Mapping[Language, Interpreter] = field(default_factory=dict)
    running: dict[UUID, Execution] = field(default_factory=dict)

    async def probe(self) -> Report:
        await self.pool.close()  # its containers were made by what is to be doubted now
        try:
            runtimes = await self._runtimes()
        except EngineError as error:
            self.report = self._nothing(str(error), ())
            return self.report
        self.report = await self._first_usable(runtimes)
        if not self.report.lacks(NEEDS):
            self.pool.start()
        return self.report

    async def _first_usable(self, runtimes: list[str]) -> Report:
        """The report of the last one that was tried, which uses it from now on."""
        *others, last = runtimes
        notes: tuple[str, ...] = ()
        for runtime in others:
            report = await self._probe(runtime, notes)
            lacks = report.lacks(NEEDS)
            if not lacks:
                return report
            notes += (f"the runtime {runtime} was not taken: {'; '.join(lacks[:3])}",)
        return await self._probe(last, notes)

    async def _probe(self, runtime: str, notes: tuple[str, ...]) -> Report:
        self.pool.maker = replace(self.pool.maker, runtime=runtime)
        try:
            self.interpreters = await self._look()
        except EngineError as error:
            return self._nothing(str(error), notes)
        owner = (
            (NOBODY, NOBODY) if self.place.is_root else None
        )  # the bait is the program's own user's, where it can be
        languages = tuple(self.interpreters)
        return replace(await canaries.probe(self.name, self._execute, languages, self.clock, owner), notes=notes)

    def _nothing(self, why: str, notes: tuple[str, ...]) -> Report:
        at = self.clock.now()
        return Report(
            self.name, dict.fromkeys(Guarantee, Evidence(Level.ABSENT, "start a container", why, at)), (), at, notes
        )

    async def run(self, spec: Spec) -> Result:
        if self.report is None:
            return self._failed(spec, ExitReason.POLICY, "Refused: no canary has run yet.")
        lacks = self.report.lacks(spec.needs)
        if lacks:
            return self._failed(spec, ExitReason.POLICY, "Refused: " + "; ".join(lacks))
        self.pool.start()
        return await self._execute(spec)

    async def kill(self, execution_id: UUID) -> bool:
        execution = self.running.get(execution_id)
        if execution is None:
            return False
        execution.killed = True
        if execution.container is not None:
            execution.container.attached.hang_up()
        return True

    async def close(self) -> None:
        await self.pool.close()
        self.pool.maker.owner.close()
        await self.pool.maker.engine.close()

    async def reap_orphans(self) -> int:
        return await owners.reap(self.pool.maker.engine, self.place.folder)

    async def _look(self) -> Mapping[Language, Interpreter]:
        """What the image has, by a container of it. Raises EngineError with what to do."""
        container = await self.pool.fresh(self.pool.shape, f"look-{secrets.token_hex(8)}")
        await self.pool.discard(container)
        return {
            language: _interpreter(container.programs[language], language)
            for language in Language
            if language in container.programs
        }

    async def _check_image(self) -> None:
        maker = self.pool.maker
        try:
            found = await maker.engine.call("GET", f"/images/{quote(maker.image)}/json", seconds=FIND_SECONDS)
        except EngineError as error:
            if error.status != 404:
                raise
            raise EngineError(f"there is no image {maker.image}: {BUILD.format(image=maker.image)}") from error
        if (found.get("Config") or {}).get("Volumes"):
            raise EngineError(f"the image {maker.image} declares volumes, which no limit of the disk bounds")

    async def _runtimes(self) -> list[str]:
        """Those to try: the one that was named; else gVisor, with a kernel of its own, and the engine's usual one."""
        await self._check_image()
        if self.runtime is not None:
            return [self.runtime]
        found = await self.pool.maker.engine.call("GET", "/info", seconds=FIND_SECONDS)
        return [GVISOR, ""] if GVISOR in (found.get("Runtimes") or {}) else [""]

    async def _execute(self, spec: Spec) -> Result:
        """Without asking what was proven: the canaries do so too."""
        lost = gone(spec.layers)
        if lost:
            return self._failed(spec, ExitReason.ENGINE, f"Its layer {lost} is not there: build it again.")
        execution = self.running[spec.id] = Execution()
        try:
            return await self._in_container(spec, execution)
        except EngineError as error:
            return self._failed(spec, ExitReason.ENGINE, str(error))
        finally:
            del self.running[spec.id]

    async def _in_container(self, spec: Spec, execution: Execution) -> Result:
        if self.interpreters and spec.language not in self.interpreters:
            return self._failed(spec, ExitReason.POLICY, f"Refused: no {spec.language} in the image.")
        container = execution.container = await self._container(spec)
        try:
            if execution.killed:
                return self._failed(spec, ExitReason.KILLED, "It was ended on request.")
            await container.rename(str(spec.id))
            return await self._ask(spec, container)
        finally:
            ending = self.pool.discard(container)
            if not container.answered:  # something of the program may be there: not a moment longer than the call
                await asyncio.shield(ending)

    async def _container(self, spec: Spec) -> Container:
        """Its own. A call that is cancelled meanwhile leaves none."""
        shape = Shape.of(spec.limits, spec.layers)
        found = self.pool.take(shape)
        if found is not None:
            return found
        starting = asyncio.ensure_future(self.pool.fresh(shape, str(spec.id)))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.shield(self._give_up(starting))
            raise

    async def _give_up(self, starting: "asyncio.Future[Container]") -> None:
        try:
            await self.pool.discard(await starting)
        except EngineError:
            return  # it left nothing

    async def _ask(self, spec: Spec, container: Container) -> Result:
        nonce = secrets.token_hex(16)
        interpreter = _interpreter(container.programs.get(spec.language, ""), spec.language)
        try:
            async with asyncio.timeout(spec.limits.seconds + GRACE_SECONDS):
                reply = await container.ask(_request(spec, nonce, interpreter), spec.limits)
        except TimeoutError:
            return self._failed(spec, ExitReason.ENGINE, "The container did not answer.")
        except replies.BadReplyError as error:
            return self._failed(spec, ExitReason.ENGINE, f"The container's answer was not taken: {error}.")
        except EngineError:
            if not await container.out_of_memory():
                raise
            needed = f"It needed more than {spec.limits.memory} bytes of memory."
            return self._failed(spec, ExitReason.OOM, needed)
        return self._result(spec, nonce, reply)

    def _result(self, spec: Spec, nonce: str, reply: replies.Reply) -> Result:
        reason, detail = reply.reason, reply.detail
        if reason is ExitReason.ENGINE:
            return self._failed(spec, reason, detail)
        fields: dict[str, Any] = {}
        if reply.result and reason is ExitReason.OK:
            try:
                fields = {"value": outcome.read(reply.result, nonce), "has_value": True}
            except outcome.BadOutcomeError as error:
                reason, detail = ExitReason.ERROR, f"Its result was not taken: {error}."
        return Result(
            id=spec.id,
            backend=self.name,
            reason=reason,
            detail=detail,
            exit_code=reply.code,
            stdout=reply.output,
            stderr=reply.errors,
            artefacts=reply.artefacts,
            refused=reply.refused,
            usage=reply.usage,
            levels=self._levels(),
            **fields,
        )

    def _failed(self, spec: Spec, reason: ExitReason, detail: str) -> Result:
        if reason is ExitReason.ENGINE:
            log.warning("sandbox.engine_failed", execution_id=str(spec.id), backend=self.name, detail=detail)
        return Result(id=spec.id, backend=self.name, reason=reason, detail=detail, levels=self._levels())

    def _levels(self) -> dict[Guarantee, Level]:
        return {} if self.report is None else {name: found.level for name, found in self.report.evidence.items()}


def _interpreter(path: str, language: Language) -> Interpreter:
    return Interpreter(path, OPTIONS[language], launch=LAUNCH if language is Language.PYTHON else "")


def _request(spec: Spec, nonce: str, interpreter: Interpreter) -> wire.Request:
    return {
        **asked(spec, interpreter),
        "backend": "docker",
        "bwrap": "",
        "read": [],
        "environment": environment(nonce, len(spec.layers)),
        "proxy": 0,
        "state": "",
        "drop": -1,
    }
