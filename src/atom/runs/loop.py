"""The agent loop: ask the model, do what it asks through the one door, journal every effect, until it answers."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import structlog

from atom.errors import AtomError
from atom.governance.decide import Decision, Trigger
from atom.governance.models import Verdict
from atom.governance.service import Wish
from atom.llm.errors import ModelError
from atom.llm.ports import ChatRequest, FinishReason, ToolCall
from atom.runs.errors import HandOverError, ParkedError, ToolCallLimitError, WallTimeError
from atom.runs.journal import Journal, call_key, reply_key
from atom.runs.limits import breach, spent
from atom.runs.models import WaitReason
from atom.runs.ports import ChosenModel, Delta, DeltaSink, Models
from atom.runs.records import ReplyRecord, ToolRecord, reply_record
from atom.runs.sources import Source, find_sources
from atom.runs.transcript import Exchange, Recorded, build
from atom.settings import RunSettings
from atom.tools.errors import ToolArgumentsError, ToolError
from atom.tools.ports import SourceLine, Tool, ToolContext
from atom.tools.registry import ToolRegistry

log = structlog.get_logger(service="agent_execution")


@dataclass(frozen=True, slots=True)
class Work:
    """What a run is about, fixed when it is claimed."""

    run_id: UUID
    agent_id: UUID
    agent_name: str
    trigger: Trigger
    instructions: str
    tools: tuple[str, ...]
    task: str
    files: tuple[str, ...]
    history: tuple[Exchange, ...]
    worked_ms: int


@dataclass(frozen=True, slots=True)
class Finished:
    answer: str
    sources: list[Source]


@dataclass(slots=True)
class AgentLoop:
    """One owner's walk through a run. `draining` tells at each step boundary whether to hand the run over."""

    work: Work
    workspace: Path
    chosen: ChosenModel
    journal: Journal
    models: Models
    registry: ToolRegistry
    deltas: DeltaSink
    limits: RunSettings
    max_tokens: int
    draining: Callable[[], bool]
    _replies: dict[int, ReplyRecord] = field(default_factory=dict, init=False)
    _results: dict[tuple[int, int], ToolRecord] = field(default_factory=dict, init=False)
    _unknown: frozenset[tuple[int, int]] = field(default=frozenset(), init=False)
    _began: float = field(default_factory=time.monotonic, init=False)

    async def run(self) -> Finished:
        """To the answer. Raises ParkedError, HandOverError, ModelError and the limits' errors."""
        loaded = await self.journal.load()
        self._replies, self._results = dict(loaded.recorded.replies), dict(loaded.recorded.results)
        self._unknown = loaded.unknown
        for turn in range(self.limits.max_turns + 1):
            reply = self._replies.get(turn) or await self._ask(turn)
            if reply.tool_calls:
                await self._call_all(turn, reply.tool_calls)
            elif not reply.empty:
                return self._finish(reply)
        raise AssertionError("the turn limit ends the loop before its range does")

    @property
    def recorded(self) -> Recorded:
        return Recorded(self._replies, self._results)

    def worked_ms(self) -> int:
        return int((time.monotonic() - self._began) * 1000)

    async def _ask(self, turn: int) -> ReplyRecord:
        self._boundary()
        over = breach(spent(self.recorded), self.limits)
        if over is not None:
            raise over
        request = ChatRequest(
            model=self.chosen.model,
            messages=build(self.work.instructions, self.work.history, self.work.task, self.work.files, self.recorded),
            tools=self.registry.specs(self.work.tools),
            max_tokens=self.max_tokens,
        )
        key = reply_key(turn)

        async def show(attempt: int, offset: int, text: str) -> None:
            self.deltas.show(Delta(self.work.run_id, key, attempt, offset, text))

        began = time.monotonic()
        try:
            async with asyncio.timeout(self._seconds_left()):
                answered = await self.models.ask(self.chosen, request, show)
        except TimeoutError as error:
            raise self._out_of_time() from error
        except ModelError as error:
            await self.journal.model_failed(turn, self.chosen, error, time.monotonic() - began)
            raise
        record = reply_record(answered.completion, answered.attempt)
        await self.journal.replied(turn, record, answered)
        self._replies[turn] = record
        return record

    async def _call_all(self, turn: int, calls: Sequence[ToolCall]) -> None:
        for index, call in enumerate(calls):
            if (turn, index) in self._results:
                continue
            self._boundary()
            if len(self._results) >= self.limits.max_tool_calls:
                raise ToolCallLimitError(
                    f"The run used all of its {self.limits.max_tool_calls} tool calls.",
                    hint="ATOM_RUNS__MAX_TOOL_CALLS raises it.",
                )
            record = await self._call(turn, index, call)
            self._results[turn, index] = record

    async def _call(self, turn: int, index: int, call: ToolCall) -> ToolRecord:
        key = call_key(turn, index)
        tool = self.registry.find(call.name) if call.name in self.work.tools else None
        arguments: dict[str, object] = {}
        if tool is not None:
            try:
                arguments = self.registry.check_arguments(tool, call.arguments)
            except ToolArgumentsError as error:
                return await self._refuse(key, call, str(error), error.code)
        if (turn, index) in self._unknown and tool is not None:
            return await self._resume(key, tool, arguments)
        wish = Wish(self.work.agent_id, self.work.run_id, self.work.trigger, call.name, arguments)
        decision = await self.journal.authorize(key, call.id, wish)
        if decision.verdict is Verdict.ASK:
            raise ParkedError("The run waits for an approval.")
        if decision.verdict is Verdict.DENY or tool is None:
            return await self._refuse(key, call, self._denied(call, decision), self._deny_code(call))
        return await self._perform(key, tool, arguments)

    async def _resume(self, key: str, tool: Tool, arguments: dict[str, object]) -> ToolRecord:
        """A call that began under an earlier owner and has no recorded end."""
        if not tool.action.effect.repeatable:
            await self.journal.park(WaitReason.REVIEW)
            raise ParkedError("Nobody knows whether the last call took effect: a person decides.")
        await self.journal.again(key)
        return await self._perform(key, tool, arguments)

    async def _perform(self, key: str, tool: Tool, arguments: dict[str, object]) -> ToolRecord:
        context = ToolContext(
            run_id=self.work.run_id,
            agent_id=self.work.agent_id,
            workspace=self.workspace,
            idempotency_key=f"{self.work.run_id}:{key}",
        )
        try:
            async with asyncio.timeout(min(tool.timeout, self._seconds_left())):
                output = await tool.run(arguments, context)
            record = ToolRecord(output.content, None, output.sources)
        except ToolError as error:
            record = ToolRecord(f"Error: {error}", "tool_error", ())
        except TimeoutError:
            record = ToolRecord(f"Error: {tool.name} did not end within {tool.timeout:g} s.", "tool_timeout", ())
        except AtomError as error:
            record = ToolRecord(f"Error: {error}", error.code, ())
        if record.code is not None:
            log.warning("execution.tool_failed", tool=tool.name, error_code=record.code, run_id=str(self.work.run_id))
        await self.journal.called(key, tool.name, record)
        return record

    async def _refuse(self, key: str, call: ToolCall, text: str, code: str) -> ToolRecord:
        record = ToolRecord(f"Error: {text}", code, ())
        await self.journal.refused(key, call.id, call.name, call.arguments, record)
        return record

    def _denied(self, call: ToolCall, decision: Decision) -> str:
        if self._deny_code(call) == "unknown_tool":
            return f"There is no tool {call.name!r} here. There are: {', '.join(self.work.tools) or 'none'}."
        return f"{call.name} is refused. {decision.text} Do the task without it, or say that you cannot."

    def _deny_code(self, call: ToolCall) -> str:
        return "denied" if call.name in self.work.tools and self.registry.find(call.name) else "unknown_tool"

    def _finish(self, reply: ReplyRecord) -> Finished:
        shown: list[SourceLine] = [line for _, record in sorted(self._results.items()) for line in record.sources]
        answer = reply.text.strip()
        if reply.finish_reason is FinishReason.LENGTH:
            answer += f"\n\n[The model stopped at its limit of {self.max_tokens} tokens; the answer is cut here.]"
        return Finished(answer, find_sources(answer, shown))

    def _boundary(self) -> None:
        if self.draining():
            raise HandOverError("This worker is stopping.")
        if self._seconds_left() <= 0:
            raise self._out_of_time()

    def _seconds_left(self) -> float:
        return self.limits.wall_seconds - (self.work.worked_ms + self.worked_ms()) / 1000

    def _out_of_time(self) -> WallTimeError:
        return WallTimeError(
            f"The run worked for {self.limits.wall_seconds:g} s without an answer.",
            hint="ATOM_RUNS__WALL_SECONDS raises the bound.",
        )
