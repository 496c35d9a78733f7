"""The journal of one run, as its present owner writes it: each write is one fenced transaction with its events."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from atom.durable import lease
from atom.durable.ports import Doorbell, Topic
from atom.errors import AtomError
from atom.events.models import EventType
from atom.events.service import Outbox
from atom.governance.decide import Decision
from atom.governance.models import Label, Verdict
from atom.governance.service import GovernanceService, Wish
from atom.infra.db import Sessions, unit_of_work, with_retry
from atom.kit.text import clean, clean_json, shorten
from atom.llm.calls import FailedOver
from atom.llm.errors import OverBudgetError, RoutesDownError
from atom.llm.ports import ToolCall
from atom.runs import notes_store, store
from atom.runs.artefacts import Written
from atom.runs.errors import NoteUnreadError
from atom.runs.family import Family
from atom.runs.models import Run, RunStatus, Step, StepKind, StepStatus, WaitReason
from atom.runs.offering import to_json as to_offered
from atom.runs.plan import Ask, Place, next_step
from atom.runs.ports import Answered, ChosenModel
from atom.runs.rating import of_run
from atom.runs.recalling import to_json as to_recalled
from atom.runs.records import ReplyRecord, ToolRecord, reply_from_json, reply_to_json, tool_from_json, tool_to_json
from atom.runs.sources import Source
from atom.runs.spending import Spending, StepHooks
from atom.runs.transcript import Brief, Recorded
from atom.runs.transitions import CANCEL, COMPLETE, FAIL, GO_ON, HAND_OVER, PAUSE, Move, park

EVENT_TEXT = 2000  # characters of a text that an event carries; the journal has the whole
MAX_STEPS = 5000
UNWRITTEN = ""  # where the digest of a file stands
RECORD_ATTEMPTS = 10  # about 20 s, longer than a restart of the server; the heartbeat ends it when the lease is lost


def reply_key(turn: int) -> str:
    return f"turn-{turn}"


def call_key(turn: int, index: int) -> str:
    return f"turn-{turn}.call-{index}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a new owner finds. `begun` are calls without a recorded end, and how they stand; `edited`: what a person
    has changed the arguments of such a call to."""

    recorded: Recorded
    begun: Mapping[Place, StepStatus]
    edited: Mapping[Place, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """What people want of a run that is at work."""

    cancel: bool
    pause: bool
    halt: bool


@dataclass(frozen=True, slots=True)
class End:
    """What the end of a call leaves: labels of everything that the run has read by now, and the files it wrote."""

    labels: frozenset[Label]
    written: Sequence[Written] = ()


@dataclass(slots=True)
class Journal:
    """`run` is as it was claimed; `epoch` fences every write; `actor` names the agent in events."""

    run: Run
    epoch: int
    actor: str
    lease_seconds: float
    sessions: Sessions = field(repr=False)
    outbox: Outbox = field(repr=False)
    governance: GovernanceService = field(repr=False)
    doorbell: Doorbell = field(repr=False)
    family: Family = field(repr=False)
    spending: Spending = field(repr=False)
    _waiting_since: datetime | None = field(default=None, init=False)

    @property
    def run_id(self) -> UUID:
        return self.run.id

    @property
    def agent_id(self) -> UUID:
        return self.run.agent_id

    async def load(self) -> Loaded:
        async with unit_of_work(self.sessions) as session:
            steps = await store.steps(session, self.run_id, limit=MAX_STEPS)
            notes = await notes_store.shown(session, self.run_id)
        loaded = read(steps)
        return replace(loaded, recorded=replace(loaded.recorded, notes=notes))

    async def take_notes(self, turn: int) -> Sequence[str]:
        """What people have said since, for the model to read before this turn, now and in every replay."""
        async with unit_of_work(self.sessions) as session:
            if not await notes_store.unread(session, self.run_id):
                return ()
            await self._write(session, {})
            return await notes_store.take(session, self.run_id, turn)

    async def renew(self) -> Asked:
        """Extend the lease. Returns what somebody asked meanwhile."""
        async with unit_of_work(self.sessions) as session:
            await self._write(session, {})
            return await self._asked(session)

    async def started(self, chosen: ChosenModel, labels: Iterable[Label], brief: Brief) -> None:
        """From here on it is on record what the agent remembered and was offered: whoever goes on, goes on from it."""
        recalled, offered = brief.recalled, brief.offered
        async with unit_of_work(self.sessions) as session:
            values = {"provider": chosen.provider, "model": chosen.model, "model_note": chosen.note}
            await self._write(session, {**values, "labels": sorted(labels), **_told(brief)})
            found = 0 if recalled is None else len(recalled.quoted) + len(recalled.mentioned)
            data: dict[str, Any] = {**values, "reason": chosen.reason, **({"recalled": found} if found else {})}
            data |= {} if offered is None else {"skills": list(offered.skills)}
            await self._emit(session, EventType.RUN_STARTED, data)

    async def replied(self, turn: int, record: ReplyRecord, answered: Answered) -> None:
        """The reply and what it cost, in one transaction: from here on it is never paid again."""
        key = reply_key(turn)
        usage = record.usage
        result = reply_to_json(record) | ({"cache_hit": True} if answered.record.cache_hit else {})
        counts = {
            "crashes": 0,  # it got on: what counts are crashes in a row
            "model_calls": Run.model_calls + 1,
            "input_tokens": _plus(Run.input_tokens, usage.input_tokens),
            "output_tokens": _plus(Run.output_tokens, usage.output_tokens),
            "model": record.model,
            "provider": record.provider,
            "cost_usd": _plus(Run.cost_usd, answered.record.cost_usd),
            "provider_wait_since": None,
        }
        self._waiting_since = None
        self.spending.note(key, answered.record)
        data = {
            "step": key,
            "attempt": record.attempt,
            "text": record.text,
            "tool_calls": result["tool_calls"],
            "finish_reason": record.finish_reason.value,
            "provider": record.provider,
            "model": record.model,
            "cache_hit": answered.record.cache_hit,
            "instead_of": answered.fell_back_from,
        }

        async def write(session: AsyncSession) -> None:
            await self._write(session, counts, replied=answered.record.id)
            await store.add_step(session, self._step(key, StepKind.MODEL, record.model, {"turn": turn}, result))
            await self._emit(session, EventType.MODEL_REPLIED, clean_json(data))

        await self._record(key, write)

    def hooks(self, key: str) -> StepHooks:
        """What a model call of this step reports to."""
        return StepHooks(self.spending, key, self._failed_over)

    async def lost_call(self) -> None:
        """The owner before died. If that was perhaps in a call of a model, it is listed, though nobody knows whether it
        was made; what it had reserved is settled."""
        loaded = await self.load()
        async with unit_of_work(self.sessions) as session:
            await self._write(session, {})
            match next_step(loaded.recorded, loaded.begun):
                case Ask(turn):
                    await self.spending.lost_call(session, reply_key(turn))
                case _:
                    await self.spending.lost_call(session, None)

    async def wait_for_provider(self, error: RoutesDownError, *, bound: float) -> bool:
        """Parked until a route may answer again. False when it has waited for `bound` seconds already."""
        since = self._waiting_since or self.run.provider_wait_since
        if (since is not None and (datetime.now(UTC) - since).total_seconds() >= bound) or bound == 0:
            return False
        values = {"provider_wait_since": func.coalesce(Run.provider_wait_since, func.now())}
        await self._wait_until(WaitReason.PROVIDER, error, error.resume_after, values)
        return True

    async def wait_for_budget(self, error: OverBudgetError) -> None:
        """Parked until a person raises the limit, or its window ends. If somebody changed a limit since, it is tried
        again at once: the change found nobody waiting."""
        await self._wait_until(WaitReason.BUDGET, error, error.resume_after, {})

    async def authorize(self, key: str, call_id: str, wish: Wish, *, again: bool) -> Decision:
        """The one door. Allowed: the call is on record before it begins. Asked: the run is parked with its question.

        `again`: the call is on record already, and a person said to make it once more.
        """
        async with unit_of_work(self.sessions) as session:
            await self._write(session, {})
            decision = await self.governance.authorize(session, wish, step_key=key)
            said = {"verdict": decision.verdict.value, "reason": decision.reason.value}
            arguments = clean_json(dict(wish.arguments))
            await self._emit(
                session, EventType.TOOL_REQUESTED, {"step": key, "tool": wish.action, "arguments": arguments, **said}
            )
            request = {"id": call_id, "arguments": arguments, **said}
            if decision.arguments is not None:  # what is really used is what is on record
                request |= {"arguments": clean_json(dict(decision.arguments)), "edited_from": arguments}
            if decision.verdict is Verdict.ALLOW and again:
                edited = None if decision.arguments is None else request
                await store.begin_again(session, self.run_id, key, epoch=self.epoch, request=edited)
            elif decision.verdict is Verdict.ALLOW:
                await store.add_step(session, self._step(key, StepKind.TOOL, wish.action, request, None))
            if decision.verdict is Verdict.ASK:
                approval = await self.governance.request_approval(session, wish, decision, step_key=key)
                asked = {"approval_id": str(approval), "tool": wish.action, "arguments": arguments, **said}
                await self._emit(session, EventType.APPROVAL_REQUESTED, asked)
                await self._park(session, WaitReason.APPROVAL)
        return decision

    async def again(self, key: str) -> None:
        """A repeatable call is about to be repeated by this owner. Raises HaltedError."""
        async with unit_of_work(self.sessions) as session:
            await self._write(session, {})
            await self.governance.refuse_halted(session)

    async def called(self, key: str, tool: str, record: ToolRecord, end: End) -> None:
        """The end of a call that `authorize` put on record, with the files that it wrote and what they carry."""
        rows = [{"execution_id": self.run_id, "step_key": key, **asdict(file)} for file in end.written]
        labels = sorted(end.labels)

        async def write(session: AsyncSession) -> None:
            await self._write(session, {"tool_calls": Run.tool_calls + 1, "crashes": 0, "labels": labels})
            await store.finish_step(session, self.run_id, key, epoch=self.epoch, result=tool_to_json(record))
            if rows:
                await store.add_artefacts(session, rows)
                files = {file.path: file.sha256 for file in end.written}
                await store.label_files(session, self.agent_id, self.run_id, files, labels)
            await self._tool_finished(session, key, tool, record)

        await self._record(key, write)

    async def file_labels(self, paths: Iterable[str]) -> frozenset[Label]:
        """What is known of files in the workspace that a call has shown."""
        asked = sorted(set(paths))
        if not asked:
            return frozenset()
        async with unit_of_work(self.sessions) as session:
            return frozenset(Label(label) for label in await store.file_labels(session, self.agent_id, asked))

    async def label_ahead(self, paths: Sequence[str], labels: Iterable[Label]) -> None:
        """These files may carry this from now on, beside what they carry already: who owns the run next, or nobody, may
        never come to say so."""
        async with unit_of_work(self.sessions) as session:
            await self._write(session, {})
            for path in paths:
                both = {*await store.file_labels(session, self.agent_id, [path]), *labels}
                await store.label_files(session, self.agent_id, self.run_id, {path: UNWRITTEN}, sorted(both))

    async def refused(self, key: str, call: ToolCall, record: ToolRecord, *, again: bool) -> None:
        """A call that never began: denied, unknown, or with arguments that do not fit. `again`: nor once more."""
        request = clean_json({"id": call.id, "arguments": shorten(call.arguments, EVENT_TEXT)})
        result = tool_to_json(record)
        async with unit_of_work(self.sessions) as session:
            await self._write(session, {})
            if again:
                await store.finish_step(session, self.run_id, key, epoch=self.epoch, result=result)
            else:
                await store.add_step(session, self._step(key, StepKind.TOOL, call.name, request, result))
            await self._tool_finished(session, key, call.name, record)

    async def child(
        self, key: str, callers: Sequence[UUID], *, agent: str, task: str, labels: Iterable[Label]
    ) -> Run | None:
        """The ended run of another agent that this call started. None: it goes on, and this run is parked until then.

        Raises ChildRefusedError.
        """
        async with unit_of_work(self.sessions) as session:
            await self._write(session, {})
            child = await self.family.child(
                session, self.run, key, callers=callers, agent_ref=agent, task=task, labels=sorted(labels)
            )
            if RunStatus(child.status).ended:
                return child
            await self._park(session, WaitReason.CHILD, step=key, child_id=str(child.id))
        return None

    async def park_for_review(self, key: str, tool: str) -> None:
        async with unit_of_work(self.sessions) as session:
            await self._park(session, WaitReason.REVIEW, step=key, tool=tool)

    async def pause(self, *, worked_ms: int) -> bool:
        """Stop here, if that is still wanted; else another worker goes on with it."""
        values = {"worked_ms": Run.worked_ms + worked_ms}
        async with unit_of_work(self.sessions) as session:
            await self._write(session, {})
            if not (await self._asked(session)).pause:
                await self._make(session, HAND_OVER, values)
                await self.doorbell.ring(session, Topic.RUN, [self.run_id])
                return False
            await self._make(session, PAUSE, {**values, "pause_requested_at": None})
            await self._emit(session, EventType.RUN_PAUSED, {})
        return True

    async def complete(self, answer: str, sources: Sequence[Source], *, worked_ms: int) -> bool:
        """False when a person said something at the last moment: then the next owner lets the model read it."""
        said = [source.as_json() for source in sources]
        values = clean_json({"answer": answer, "sources": said})
        try:
            async with unit_of_work(self.sessions) as session:
                await self._end(session, COMPLETE, {**values, "worked_ms": Run.worked_ms + worked_ms})
                if await notes_store.unread(session, self.run_id):  # under the lock that whoever corrects takes, too
                    raise NoteUnreadError("A note came in before the run could end.")
                await self._emit(session, EventType.RUN_COMPLETED, values)
        except NoteUnreadError:
            await self.hand_over(worked_ms=worked_ms)
            return False
        return True

    async def fail(self, error: AtomError, *, worked_ms: int) -> None:
        said = clean_json({"code": error.code, "message": error.message, "hint": error.hint})
        async with unit_of_work(self.sessions) as session:
            await self._end(session, FAIL, {"error": said, "worked_ms": Run.worked_ms + worked_ms})
            await self.governance.evidence.failed(session, await of_run(session, self.run), error.code)
            await self._emit(session, EventType.RUN_FAILED, {"error": said})

    async def cancelled(self, *, worked_ms: int) -> None:
        async with unit_of_work(self.sessions) as session:
            await self._end(session, CANCEL, {"worked_ms": Run.worked_ms + worked_ms})
            await self._emit(session, EventType.RUN_CANCELLED, {})

    async def hand_over(self, *, worked_ms: int, halted: bool = False) -> None:
        """Let go of the run and ring for another worker; `halted`: whoever watches is told why it stands still."""
        async with unit_of_work(self.sessions) as session:
            values = {"worked_ms": Run.worked_ms + worked_ms}
            await self._make(session, HAND_OVER, values)
            if halted:
                await self._emit(session, EventType.RUN_HALTED, {})
            await self.doorbell.ring(session, Topic.RUN, [self.run_id])

    async def _wait_until(
        self, reason: WaitReason, error: AtomError, seconds: float | None, values: dict[str, Any]
    ) -> None:
        detail = clean(shorten(f"{error.message} {error.hint}".strip(), EVENT_TEXT))
        async with unit_of_work(self.sessions) as session:
            if reason is WaitReason.BUDGET and await self.spending.limits_changed(session):
                seconds = 0.0
            at = None if seconds is None else func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
            await self._make(session, park(reason), {**values, "resume_at": at, "wait_detail": detail})
            said = {"wait_reason": reason.value, "detail": detail, "code": error.code, "seconds": seconds}
            await self._emit(session, EventType.RUN_WAITING, said)

    async def _failed_over(self, key: str, change: FailedOver) -> None:
        said = {
            "step": key,
            "from": change.source.name,
            "to": change.target.name,
            "error_code": change.error_code,
            "reason": clean(shorten(change.reason, EVENT_TEXT)),
        }
        async with unit_of_work(self.sessions) as session:
            await self._write(session, {})
            if change.source != change.target:
                await self._emit(session, EventType.MODEL_FAILED_OVER, said)
            if change.restarted:
                await self._emit(session, EventType.MODEL_RESTARTED, said)

    async def _record(self, key: str, write: Callable[[AsyncSession], Awaitable[None]]) -> None:
        """What was paid for or took effect is held on to while the database is away: lost, it would be paid again, or a
        person would have to find out. A commit whose reply was lost is found on the next try."""
        again = False

        async def once() -> None:
            nonlocal again
            async with unit_of_work(self.sessions) as session:
                if not (again and await store.is_done(session, self.run_id, key)):
                    again = True
                    await write(session)

        await with_retry(once, attempts=RECORD_ATTEMPTS)

    async def _write(self, session: AsyncSession, values: dict[str, Any], *, replied: UUID | None = None) -> None:
        await self._make(session, GO_ON, values, replied=replied)

    async def _make(
        self, session: AsyncSession, move: Move, values: dict[str, Any], *, replied: UUID | None = None
    ) -> None:
        """`transitions.moved` as one statement: no row is touched when this is not the owner any more."""
        seconds = None if move.release else self.lease_seconds
        status = {} if move is GO_ON else {"status": move.status.value, "wait_reason": move.wait_reason}
        await lease.write(session, Run, self.run_id, epoch=self.epoch, seconds=seconds, values={**status, **values})
        await self.spending.flush(session, replied=replied, last=move.release)

    async def _asked(self, session: AsyncSession) -> Asked:
        run = await store.get(session, self.run_id)
        assert run is not None
        halted = await self.governance.halted(session)
        return Asked(run.cancel_requested_at is not None, run.pause_requested_at is not None, halted)

    async def _park(self, session: AsyncSession, reason: WaitReason, **said: str) -> None:
        await self._make(session, park(reason), {})
        await self._emit(session, EventType.RUN_WAITING, {"wait_reason": reason.value, **said})

    async def _end(self, session: AsyncSession, move: Move, values: dict[str, Any]) -> None:
        await self.family.hold_parent(session, self.run)
        await self._make(session, move, {"ended_at": func.now(), **values})
        await self.family.ended(session, self.run, move.status, by=self.actor)

    async def _tool_finished(self, session: AsyncSession, key: str, tool: str, record: ToolRecord) -> None:
        summary = shorten(record.content, EVENT_TEXT)
        data = {"step": key, "tool": tool, "ok": record.code is None, "code": record.code, "summary": summary}
        await self._emit(session, EventType.TOOL_FINISHED, clean_json(data))

    async def _emit(self, session: AsyncSession, type_: EventType, data: dict[str, Any]) -> None:
        await self.outbox.emit(session, type_, actor=self.actor, agent_id=self.agent_id, run_id=self.run_id, data=data)

    def _step(
        self, key: str, kind: StepKind, name: str, request: dict[str, Any], result: dict[str, Any] | None
    ) -> dict[str, Any]:
        ended = {} if result is None else {"result": result, "ended_at": func.now()}
        status = StepStatus.STARTED if result is None else StepStatus.DONE
        return {
            "execution_id": self.run_id,
            "key": key,
            "kind": kind.value,
            "name": shorten(name, 200),
            "status": status.value,
            "epoch": self.epoch,
            "request": request,
            **ended,
        }


def _told(brief: Brief) -> dict[str, Any]:
    return {"recalled": to_recalled(brief.recalled), "offered": to_offered(brief.offered)}


def read(steps: Sequence[Step]) -> Loaded:
    """The journal by step key. Pure."""
    replies: dict[int, ReplyRecord] = {}
    results: dict[tuple[int, int], ToolRecord] = {}
    begun: dict[Place, StepStatus] = {}
    edited: dict[Place, Mapping[str, Any]] = {}
    for step in steps:
        turn, _, index = step.key.removeprefix("turn-").partition(".call-")
        if step.kind == StepKind.MODEL:
            replies[int(turn)] = reply_from_json(step.result or {})
        elif step.result is None:
            begun[int(turn), int(index)] = StepStatus(step.status)
            if "edited_from" in step.request:
                edited[int(turn), int(index)] = step.request["arguments"]
        else:
            results[int(turn), int(index)] = tool_from_json(step.result)
    return Loaded(Recorded(replies, results), begun, edited)


def _plus(column: Any, amount: int | Decimal | None) -> Any:
    """Unknown stays unknown until a provider reports a number."""
    return column if amount is None else func.coalesce(column, 0) + amount
