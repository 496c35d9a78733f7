"""Running scripts: whether one may, its row, the sandbox, and how it ended. No transaction is open meanwhile."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncSession

from atom.errors import AtomError, InvalidError
from atom.events.models import EventType
from atom.events.service import Outbox
from atom.infra.db import Sessions, unit_of_work, with_retry
from atom.kit.ids import new_id
from atom.settings import SandboxSettings
from atom.skills.bundle.models import Bundle
from atom.skills.execution import recording, store
from atom.skills.execution.codes import Code, Ending, ending_of, failed
from atom.skills.execution.errors import ExecutionEndedError, ExecutionNotFoundError, ExecutionOfRunError
from atom.skills.execution.models import ExecutionStatus, FileKind, Purpose, SkillExecution
from atom.skills.execution.orders import INPUTS, Order, in_the_way
from atom.skills.execution.permission import allowed, check_version
from atom.skills.execution.scripts import language_of, pick
from atom.skills.layers.advice import Program
from atom.skills.layers.declared import declared
from atom.skills.layers.errors import DependencyRefusedError
from atom.skills.registry.errors import SkillCorruptError
from atom.skills.registry.using import Stored, Usable, Use, content
from atom.skills.sandbox.access import SandboxAccess
from atom.skills.sandbox.models import Artefact, Result, Spec
from atom.skills.sandbox.service import limits

QUEUE_SECONDS = 900.0  # beyond the script's own time: to wait for a turn, to begin, to clean up
RECORD_ATTEMPTS = 8
UNKNOWN = (
    "Whoever ran it went away before its end. Nobody knows what it has done at its hosts, and it is not run again."
)
LOOK_FIRST = "Look there what came of it; then run it again."
log = structlog.get_logger(service="skill_sandbox")


@dataclass(frozen=True, slots=True)
class Begun:
    """An attempt that is on record, and everything it needs."""

    id: UUID
    attempt: int
    order: Order
    script: str
    usable: Usable
    stored: Stored


@dataclass(frozen=True, slots=True)
class Done:
    """How an execution ended. `result` None: nothing was run."""

    id: UUID
    skill: str
    script: str
    ending: Ending
    result: Result | None

    @property
    def artefacts(self) -> Sequence[Artefact]:
        return () if self.result is None else self.result.artefacts


@dataclass(frozen=True, slots=True)
class Executions:
    """`ended` counts by outcome: `ok`, `cancelled`, or the code."""

    sessions: Sessions
    use: Use
    outbox: Outbox
    sandbox: SandboxAccess
    settings: SandboxSettings
    ended: Counter = field(repr=False)

    async def run(self, order: Order) -> Done:
        """For the call of an agent. Raises what `allowed` and `pick` raise; how the script ended is in the answer."""
        begun = await self._begin(order)
        return await self._perform(begun)

    async def queue(self, session: AsyncSession, order: Order) -> SkillExecution:
        """For a person: on record, with its files, to be run by `advance`. Raises what `allowed` and `pick` raise."""
        usable = await allowed(session, self.use, order)
        row = await self._add(session, order, usable, ExecutionStatus.QUEUED)
        assert row is not None
        await recording.keep_files(session, row.id, FileKind.INPUT, order.files)
        return row

    async def advance(self, id_: UUID) -> Done | None:
        """Run what was queued, also once more after a crash. None: it has ended, or was withdrawn."""
        async with unit_of_work(self.sessions) as session:
            row = await store.get(session, id_, lock=True)
            if row is None or ExecutionStatus(row.status).ended:
                return None
            order = recording.order_of(row, await store.files(session, id_, FileKind.INPUT))
            try:
                usable = await allowed(session, self.use, order)
            except AtomError as error:  # it was disabled, or another version has come, since it was asked for
                return await self._not_run(session, row, failed(Code.POLICY, error.message, error.hint))
            begun_before = row.status == ExecutionStatus.RUNNING
            if begun_before and usable.hosts and order.purpose is Purpose.RUN:
                return await self._not_run(session, row, failed(Code.INTERRUPTED, UNKNOWN, LOOK_FIRST))
            begun = await self._started(session, row, order, usable, row.script)
        return await self._perform(begun)

    async def _not_run(self, session: AsyncSession, row: SkillExecution, ending: Ending) -> Done:
        attempt = await store.begin(session, row.id, seconds=QUEUE_SECONDS)
        self._told(await recording.end(session, self.outbox, (row.id, attempt), ending, None), ending, None)
        return Done(row.id, row.skill_name, row.script, ending, None)

    async def withdraw(self, session: AsyncSession, id_: UUID) -> SkillExecution:
        """Cancel one that waits; one that runs is its job's to cancel. Raises ExecutionEndedError, and
        ExecutionOfRunError for that of an agent."""
        row = await self.get(session, id_)
        if ExecutionStatus(row.status).ended:
            raise ExecutionEndedError(f"Execution {id_} has ended ({row.status}).")
        if row.agent_id is not None:
            said = f"Execution {id_} is a call of an agent."
            raise ExecutionOfRunError(said, hint=f"`atom runs cancel {row.run_id}` ends it with its run.")
        await store.withdraw(session, id_)
        return await self.get(session, id_)

    async def get(self, session: AsyncSession, id_: UUID) -> SkillExecution:
        row = await store.get(session, id_)
        if row is None:
            raise ExecutionNotFoundError(id_)
        return row

    async def to_build(self, session: AsyncSession, skill: str, version: str) -> Stored:
        """The content whose packages are to be installed: of a version that was not taken out of use.

        Raises SkillNotFoundError, SkillVersionNotFoundError, SkillNotUsableError.
        """
        return await content(session, await self.use.trial(session, skill, version))

    async def tidy(self, session: AsyncSession) -> None:
        """For the sweep: end what nobody runs any more, forget what is old."""
        for row, cancelled in await store.lost(session):
            ending = failed(Code.INTERRUPTED, "Whoever ran it went away before its end.")
            if cancelled:
                ending = Ending(ExecutionStatus.CANCELLED, message="Its job was cancelled.")
            await recording.lose(session, self.outbox, row, ending)
            self._told(row, ending, None)
        await store.forget_old(session, self.settings.keep_days)

    async def _begin(self, order: Order) -> Begun:
        async with unit_of_work(self.sessions) as session:
            usable = await allowed(session, self.use, order)
            row = await self._add(session, order, usable, ExecutionStatus.RUNNING)
            if row is None:
                assert order.call_key is not None
                row = await store.by_call(session, order.call_key)
                assert row is not None
            return await self._started(session, row, order, usable, row.script)

    async def _add(
        self, session: AsyncSession, order: Order, usable: Usable, status: ExecutionStatus
    ) -> SkillExecution | None:
        script = pick(usable.paths, order.script)
        waits = status is ExecutionStatus.QUEUED
        return await store.add(session, recording.row_of(new_id(), order, usable, script, waits=waits))

    async def _started(
        self, session: AsyncSession, row: SkillExecution, order: Order, usable: Usable, script: str
    ) -> Begun:
        check_version(usable, row.digest)
        seconds = self.settings.timeout + QUEUE_SECONDS
        attempt = await store.begin(session, row.id, seconds=seconds)
        data = {"execution": str(row.id), "skill": row.skill_name, "script": script, "purpose": row.purpose}
        await self.outbox.emit(
            session, EventType.SKILL_STARTED, actor=order.actor, agent_id=row.agent_id, run_id=row.run_id, data=data
        )
        return Begun(row.id, attempt, order, script, usable, await content(session, usable))

    async def _perform(self, begun: Begun) -> Done:
        """Whatever happens is on record, also that somebody cancelled it. Where only this process goes away, the next
        worker goes on with what a person has started."""
        try:
            ending, result = await self._execute(begun)
        except asyncio.CancelledError:
            ending = Ending(ExecutionStatus.CANCELLED, message="It was cancelled while it ran.")
            await asyncio.shield(self._record(begun, ending, None, unless_it_goes_on=True))
            raise
        await self._record(begun, ending, result)
        return Done(begun.id, begun.usable.name, begun.script, ending, result)

    async def _execute(self, begun: Begun) -> tuple[Ending, Result | None]:
        language = language_of(begun.script)
        assert language is not None
        try:
            bundle = await begun.stored.bundle()
            wanted = (await asyncio.to_thread(declared, bundle)).of(begun.script)
            spec = self._spec(begun, bundle)
        except SkillCorruptError as error:
            return failed(Code.CORRUPT, error.message, error.hint), None
        except DependencyRefusedError as error:
            return failed(Code.DEPENDENCY_REFUSED, error.message, error.hint), None
        except InvalidError as error:
            return failed(Code.POLICY, error.message, error.hint), None
        ran = await self.sandbox.execute(spec, wanted)
        program = Program(begun.usable.name, language, tuple(bundle.files), wanted, ran.layer)
        return ending_of(ran.result, program), ran.result

    def _spec(self, begun: Begun, bundle: Bundle) -> Spec:
        language = language_of(begun.script)
        assert language is not None
        files = {path: member.data for path, member in bundle.files.items()}
        given = {f"{INPUTS}/{name}": body for name, body in begun.order.files.items()}
        doubled = sorted(files.keys() & given.keys())
        if doubled:
            raise InvalidError(f"files: the skill itself has a file {doubled[0]!r}.", field="files")
        blocked = in_the_way({**files, **given})
        if blocked is not None:
            raise InvalidError(f"files: {blocked!r} is a file of the skill, and no folder.", field="files")
        return Spec(
            language=language,
            entry=begun.script,
            files={**files, **given},
            arguments=tuple(begun.order.arguments),
            input=begun.order.input.encode(),
            limits=limits(self.settings),
            hosts=() if begun.order.purpose is Purpose.TEST else begun.usable.hosts,
        )

    async def _record(
        self, begun: Begun, ending: Ending, result: Result | None, *, unless_it_goes_on: bool = False
    ) -> None:
        keep = begun.order.agent is None and result is not None

        async def write() -> SkillExecution | None:
            async with unit_of_work(self.sessions) as session:
                if unless_it_goes_on and await store.goes_on(session, begun.id):
                    return None
                place = (begun.id, begun.attempt)
                row = await recording.end(session, self.outbox, place, ending, result)
                if row is not None and keep and result is not None:
                    made = {one.name: one.body for one in result.artefacts}
                    await recording.keep_files(session, begun.id, FileKind.ARTEFACT, made)
                return row

        self._told(await with_retry(write, attempts=RECORD_ATTEMPTS), ending, result)

    def _told(self, row: SkillExecution | None, ending: Ending, result: Result | None) -> None:
        """In the log and the metrics; nothing where another attempt has taken over."""
        if row is None:
            return
        outcome = ending.code.value if ending.code else "ok"
        self.ended.labels("cancelled" if ending.status is ExecutionStatus.CANCELLED else outcome).inc()
        recording.tell(row, ending, None if result is None else round(result.usage.seconds, 3))
