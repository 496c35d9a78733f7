"""The agent loop: ask the model, do what it asks through the one door, journal every effect, until it answers."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from uuid import UUID

import structlog

from atom.durable.lease import FencedError
from atom.errors import AtomError
from atom.governance.decide import Decision, Trigger
from atom.governance.models import EffectClass, Label, Verdict
from atom.governance.service import Wish
from atom.governance.taint import TAINTING, Reading, answered, traceable
from atom.infra.db import DatabaseUnavailableError, PoolExhaustedError
from atom.infra.trace import Tracer
from atom.kit.text import canonical_json
from atom.llm.calls import Caller
from atom.llm.errors import OverBudgetError, RoutesDownError
from atom.llm.ports import ChatRequest, FinishReason, ToolCall
from atom.runs.artefacts import Written, describe
from atom.runs.errors import ParkedError, ToolCallLimitError, WallTimeError
from atom.runs.journal import MAX_STEPS, End, Journal, call_key, reply_key
from atom.runs.limits import breach, spent
from atom.runs.models import StepStatus
from atom.runs.plan import Answer, Ask, Call, Place, may_repeat, next_step
from atom.runs.ports import ChosenModel, Delta, DeltaSink, Models
from atom.runs.reading import reading_of, take
from atom.runs.records import ReplyRecord, ToolRecord, child_output, edited_denied, edited_note, reply_record
from atom.runs.shape import shaped
from atom.runs.sources import Source, find_sources
from atom.runs.spans import labels, note_result, stint_span, tool_span
from atom.runs.transcript import Brief, Recorded, build
from atom.settings import RunSettings
from atom.tools.errors import ToolArgumentsError, ToolError
from atom.tools.ports import SourceLine, Tool, ToolContext, ToolOutput
from atom.tools.registry import ToolRegistry
from atom.tools.workspace import plain_path

NO_RESULT = (ParkedError, FencedError, DatabaseUnavailableError, PoolExhaustedError)  # nothing that a tool said
log = structlog.get_logger(service="agent_execution")


@dataclass(frozen=True, slots=True)
class Work:
    """What a run is about, fixed when it is claimed. `callers`: the agents it works for, nearest first.

    `requester`: the actor behind all of them.
    """

    run_id: UUID
    agent_id: UUID
    agent_name: str
    trigger: Trigger
    brief: Brief
    tools: tuple[str, ...]
    worked_ms: int
    callers: tuple[UUID, ...] = ()
    requester: str | None = None
    requested_model: str | None = None
    no_cache: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    answer: str
    sources: list[Source]


@dataclass(slots=True)
class AgentLoop:
    """One owner's walk through a run. `save` keeps what a call wrote before the journal says so. `leave` tells at each
    step boundary why to stop there, if there is a reason. `patience`: seconds that a run may wait for a provider."""

    work: Work
    workspace: Path
    save: Callable[[], Awaitable[None]]
    chosen: ChosenModel
    journal: Journal
    models: Models
    registry: ToolRegistry
    deltas: DeltaSink
    limits: RunSettings
    max_tokens: int
    temperature: float | None
    patience: float
    tracer: Tracer
    leave: Callable[[], AtomError | None]
    _replies: dict[int, ReplyRecord] = field(default_factory=dict, init=False)
    _results: dict[tuple[int, int], ToolRecord] = field(default_factory=dict, init=False)
    _notes: dict[int, Sequence[str]] = field(default_factory=dict, init=False)
    _begun: Mapping[Place, StepStatus] = field(default_factory=dict, init=False)
    _reading: Reading = field(default_factory=Reading, init=False)
    _edited: Mapping[Place, Mapping[str, object]] = field(default_factory=dict, init=False)
    _began: float = field(default_factory=time.monotonic, init=False)

    async def run(self) -> Finished:
        """To the answer. Raises ParkedError, PauseError, HandOverError, ModelError and the limits' errors."""
        work = self.work
        with stint_span(
            self.tracer, work.run_id, agent_id=work.agent_id, agent_name=work.agent_name, chosen=self.chosen
        ):
            return await self._walk()

    async def _walk(self) -> Finished:
        loaded = await self.journal.load()
        self._replies, self._results = dict(loaded.recorded.replies), dict(loaded.recorded.results)
        self._notes = dict(loaded.recorded.notes)
        self._begun, self._edited = loaded.begun, loaded.edited
        self._reading = reading_of(self.work.brief, loaded.recorded)
        for _ in range(MAX_STEPS):
            match next_step(self.recorded, self._begun):
                case Ask(turn):
                    await self._listen(turn)
                    await self._ask(turn)
                case Call() as step:
                    await self._call(step)
                case Answer(turn):
                    if not await self._listen(turn + 1):
                        return self._finish(self._replies[turn])
        raise AssertionError("the limits of turns and calls end the loop before its range does")

    @property
    def recorded(self) -> Recorded:
        return Recorded(self._replies, self._results, self._notes)

    def worked_ms(self) -> int:
        return int((time.monotonic() - self._began) * 1000)

    async def _listen(self, turn: int) -> bool:
        """Whether a person has said something that the model is to read before this turn."""
        heard = await self.journal.take_notes(turn)
        if heard:
            self._notes[turn] = (*self._notes.get(turn, ()), *heard)
            for note in heard:
                self._reading.user_said(note)
        return bool(heard)

    async def _ask(self, turn: int) -> None:
        self._boundary()
        over = breach(spent(self.recorded), self.limits)
        if over is not None:
            raise over
        asked = self.work.brief.options
        request = ChatRequest(
            model=self.chosen.model,
            messages=build(self.work.brief, self.recorded),
            tools=self.registry.specs(self.work.tools),
            max_tokens=min(self.max_tokens, asked.max_tokens or self.max_tokens),
            temperature=self.temperature if asked.temperature is None else asked.temperature,
            response_schema=asked.response_schema,
        )
        key = reply_key(turn)
        first = self.journal.spending.first

        async def show(attempt: int, offset: int, text: str) -> None:
            self.deltas.show(Delta(self.work.run_id, key, first + attempt, offset, text))

        hooks, named = self.journal.hooks(key), labels(self.work.run_id, key)
        caller = Caller(self.work.requester, hooks, use_cache=not self.work.no_cache, labels=named)
        try:
            async with asyncio.timeout(self._seconds_left()):
                answered = await self.models.ask(self.work.requested_model, request, show, caller)
        except TimeoutError as error:
            raise self._out_of_time() from error
        except RoutesDownError as error:
            if not await self.journal.wait_for_provider(error, bound=self.patience):
                raise error.last or error from None
            raise ParkedError("The run waits for a provider.") from error
        except OverBudgetError as error:
            await self.journal.wait_for_budget(error)
            raise ParkedError("The run waits for a budget.") from error
        record = reply_record(answered.completion, first + answered.attempt, asked.response_schema)
        await self.journal.replied(turn, record, answered)
        self._replies[turn] = record

    async def _call(self, step: Call) -> None:
        self._boundary()
        if len(self._results) >= self.limits.max_tool_calls:
            raise ToolCallLimitError(
                f"The run used all of its {self.limits.max_tool_calls} tool calls.",
                hint="ATOM_RUNS__MAX_TOOL_CALLS raises it.",
            )
        tool = self.registry.find(step.call.name) if step.call.name in self.work.tools else None
        if step.begun is not None:
            record = await self._resume(step, tool, step.begun)
        else:
            record = await self._begin(step, tool, again=False)
        self._results[step.turn, step.index] = record
        take(self._reading, step.call.name, step.turn, record)

    async def _begin(self, step: Call, tool: Tool | None, *, again: bool) -> ToolRecord:
        """Through the door. `again`: a person said to make a call once more that has begun before."""
        call, work = step.call, self.work
        arguments: dict[str, object] = {}
        if tool is not None:
            try:
                arguments = self._arguments(step, tool)
            except ToolArgumentsError as error:
                return await self._refuse(step, str(error), error.code, again=again)
        key = call_key(step.turn, step.index)
        wish = Wish(
            work.agent_id,
            work.run_id,
            work.trigger,
            call.name,
            arguments,
            work.callers,
            work.requester,
            self._reading,
        )
        decision = await self.journal.authorize(key, call.id, wish, again=again)
        if decision.verdict is Verdict.ASK:
            raise ParkedError("The run waits for an approval.")
        if decision.verdict is Verdict.DENY or tool is None:
            return await self._refuse(step, self._denied(call, decision), self._deny_code(call), again=again)
        if decision.arguments is not None:
            return await self._edited_call(step, tool, decision.arguments)
        return await self._traced(step, tool, arguments, self._edited.get((step.turn, step.index)))

    async def _edited_call(self, step: Call, tool: Tool, edited: Mapping[str, object]) -> ToolRecord:
        """A person has changed the arguments, and they are on record. They were checked when they came; another release
        of the tool may judge otherwise."""
        try:
            arguments = self.registry.check_arguments(tool, canonical_json(dict(edited)))
        except ToolArgumentsError as error:
            return await self._refuse(step, str(error), error.code, again=True)
        return await self._traced(step, tool, arguments, edited)

    def _arguments(self, step: Call, tool: Tool) -> dict[str, object]:
        """What the model wrote; of a call that has begun, what it began with. Raises ToolArgumentsError."""
        edited = self._edited.get((step.turn, step.index))
        written = step.call.arguments if edited is None else canonical_json(dict(edited))
        return self.registry.check_arguments(tool, written)

    async def _resume(self, step: Call, tool: Tool | None, begun: StepStatus) -> ToolRecord:
        """A call that began under an earlier owner and has no recorded end. Of a tool that is gone, nobody knows how it
        would bear a repetition."""
        key = call_key(step.turn, step.index)
        effect = tool.action.effect if tool else EffectClass.IRREVERSIBLE
        if not may_repeat(effect, begun):
            await self.journal.park_for_review(key, step.call.name)
            raise ParkedError("Nobody knows whether the last call took effect: a person decides.")
        if begun is StepStatus.RETRY or tool is None:
            return await self._begin(step, tool, again=True)
        try:
            arguments = self._arguments(step, tool)
        except ToolArgumentsError as error:  # another release of the tool
            return await self._refuse(step, str(error), error.code, again=True)
        await self.journal.again(key)
        return await self._traced(step, tool, arguments, self._edited.get((step.turn, step.index)))

    async def _traced(
        self, step: Call, tool: Tool, arguments: dict[str, object], edited: Mapping[str, object] | None
    ) -> ToolRecord:
        """`edited`: the arguments, if they are not those that the model wrote."""
        run_id, key = self.work.run_id, call_key(step.turn, step.index)
        with tool_span(self.tracer, run_id, key=key, tool=tool.name, call_id=step.call.id, arguments=arguments) as span:
            record = await self._perform(key, tool, arguments, edited)
            note_result(self.tracer, span, record)
            return record

    async def _perform(
        self, key: str, tool: Tool, arguments: dict[str, object], edited: Mapping[str, object] | None
    ) -> ToolRecord:
        context = ToolContext(
            run_id=self.work.run_id,
            agent_id=self.work.agent_id,
            workspace=self.workspace,
            idempotency_key=f"{self.work.run_id}:{key}",
            delegate=partial(self._delegate, key),
            agent_name=self.work.agent_name,
            labels=self._reading.labels,
            label=self._label,
        )
        written: tuple[Written, ...] = ()
        try:
            async with asyncio.timeout(min(tool.timeout, self._seconds_left())):
                await self._label_ahead(tool, arguments)
                output = await tool.run(arguments, context)
            record = await self._labelled(tool, arguments, output)
            if tool.action.effect is not EffectClass.READ:
                await self.save()
            if output.files:
                written = await asyncio.to_thread(describe, self.workspace, output.files)
        except NO_RESULT:
            raise
        except ToolError as error:
            record = self._failed(tool, str(error), "tool_error")
        except TimeoutError:
            record = self._failed(tool, f"{tool.name} did not end within {tool.timeout:g} s.", "tool_timeout")
        except AtomError as error:
            record = self._failed(tool, str(error), error.code)
        if edited is not None:
            record = replace(record, content=f"{edited_note(edited)}\n{record.content}")
        if record.code is not None:
            log.warning("execution.tool_failed", tool=tool.name, error_code=record.code, run_id=str(self.work.run_id))
        end = End(self._reading.labels | (TAINTING & (record.labels or frozenset())), written)
        await self.journal.called(key, tool.name, record, end)
        return record

    async def _label_ahead(self, tool: Tool, arguments: Mapping[str, object]) -> None:
        """What a tainted run is about to write is labelled before it is there: a crash must not leave it clean."""
        paths = [plain_path(str(arguments[name])) for name in sorted(tool.writes) if name in arguments]
        if paths and self._reading.tainted:
            await self.journal.label_ahead(paths, self._reading.labels)

    async def _label(self, paths: Sequence[str], labels: frozenset[Label], given: Sequence[str]) -> None:
        """What a tool is about to write carries what the run has read, what it was made of, and `labels`."""
        every = self._reading.labels | labels | await self.journal.file_labels(given)
        if paths and not every.isdisjoint(TAINTING):
            await self.journal.label_ahead([plain_path(path) for path in paths], every & TAINTING)

    async def _labelled(self, tool: Tool, arguments: dict[str, object], output: ToolOutput) -> ToolRecord:
        shown = (*output.paths, *(line.path for line in output.sources))
        known = output.labels | await self.journal.file_labels(shown)
        traced = traceable(tool.action, arguments, self._reading)
        read = answered(tool.action, "", output.content, given=known, vouched=output.vouched, traced=traced)
        vouching = read.labels if output.code is None else read.labels - {Label.TRUSTED}
        return ToolRecord(output.content, output.code, output.sources, vouching, read.vouched)

    def _failed(self, tool: Tool, text: str, code: str) -> ToolRecord:
        """What a failure says vouches for nothing, and may have the words of whoever was asked."""
        return ToolRecord(f"Error: {text}", code, (), tool.action.reads & TAINTING)

    async def _delegate(self, key: str, agent: str, task: str) -> ToolOutput:
        """What another agent answers. While it works on that, this run is parked."""
        labels = self._reading.labels
        child = await self.journal.child(key, self.work.callers, agent=agent, task=task, labels=labels)
        if child is None:
            raise ParkedError("The run waits for another agent.")
        return child_output(child, agent)

    async def _refuse(self, step: Call, text: str, code: str, *, again: bool) -> ToolRecord:
        record = ToolRecord(f"Error: {text}", code, ())
        await self.journal.refused(call_key(step.turn, step.index), step.call, record, again=again)
        return record

    def _denied(self, call: ToolCall, decision: Decision) -> str:
        if self._deny_code(call) == "unknown_tool":
            return f"There is no tool {call.name!r} here. There are: {', '.join(self.work.tools) or 'none'}."
        edited = "" if decision.arguments is None else f"{edited_denied(decision.arguments)} "
        return f"{call.name} is refused. {edited}{decision.text} Do the task without it, or say that you cannot."

    def _deny_code(self, call: ToolCall) -> str:
        return "denied" if call.name in self.work.tools and self.registry.find(call.name) else "unknown_tool"

    def _finish(self, reply: ReplyRecord) -> Finished:
        shown: list[SourceLine] = [line for _, record in sorted(self._results.items()) for line in record.sources]
        if self.work.brief.options.response_schema is not None:
            return Finished(shaped(reply.text), find_sources(reply.text, shown))
        answer = reply.text.strip()
        if reply.finish_reason is FinishReason.LENGTH:
            answer += f"\n\n[The model stopped at its limit of {self.max_tokens} tokens; the answer is cut here.]"
        return Finished(answer, find_sources(answer, shown))

    def _boundary(self) -> None:
        reason = self.leave()
        if reason is not None:
            raise reason
        if self._seconds_left() <= 0:
            raise self._out_of_time()

    def _seconds_left(self) -> float:
        return self.limits.wall_seconds - (self.work.worked_ms + self.worked_ms()) / 1000

    def _out_of_time(self) -> WallTimeError:
        return WallTimeError(
            f"The run worked for {self.limits.wall_seconds:g} s without an answer.",
            hint="ATOM_RUNS__WALL_SECONDS raises the bound.",
        )
