"""A run as a client of this protocol sees it: text as it comes, tools in between, and how it ended."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from atom.client.models import Delta as ClientDelta
from atom.client.models import Event as ClientEvent
from atom.client.order import Order
from atom.client.transcript import Piece, Transcript
from atom.events.models import Event, EventType
from atom.feed.stream import Heartbeat, Stream
from atom.feed.viewer import Viewer
from atom.governance.approvals import ApprovalService
from atom.governance.inbox_store import Wanted
from atom.governance.tables import Approval, ApprovalStatus
from atom.infra.db import Sessions, unit_of_work
from atom.runs.models import Run, RunStatus, WaitReason
from atom.runs.ports import Delta
from atom.runs.service import RunService

ENDS = frozenset({EventType.RUN_COMPLETED, EventType.RUN_FAILED, EventType.RUN_CANCELLED})
STOPS = frozenset({EventType.RUN_WAITING, EventType.RUN_PAUSED})
FOR_PEOPLE = frozenset(
    {WaitReason.APPROVAL, WaitReason.BUDGET, WaitReason.OPERATOR, WaitReason.REVIEW, WaitReason.RESTORED}
)  # anything else goes on by itself


@dataclass(frozen=True, slots=True)
class Beat:
    """Nothing to show; the connection lives."""


@dataclass(frozen=True, slots=True)
class Text:
    """`restarted`: what was shown of this step so far is void."""

    step: str
    text: str
    restarted: bool


@dataclass(frozen=True, slots=True)
class ToolBegan:
    step: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolEnded:
    step: str
    name: str
    ok: bool
    summary: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How the run stands when nothing more is to be waited for. `cut`: its answer was ended by the limit of tokens."""

    run: Run
    agent: str
    approval: Approval | None = None
    cut: bool = False


Seen = Beat | Text | ToolBegan | ToolEnded | Standing


@dataclass(frozen=True, slots=True)
class Watch:
    """Holds no database connection while it waits."""

    stream: Stream
    runs: RunService
    approvals: ApprovalService
    sessions: Sessions

    async def follow(self, viewer: Viewer, run_id: UUID, *, seconds: float) -> AsyncGenerator[Seen]:
        """What happens, and last a `Standing`: the run has ended, a person is needed, or `seconds` are over.

        Without a `Standing` at the end this process is going away; the run goes on elsewhere.
        """
        view, until = _View(), time.monotonic() + seconds
        async with aclosing(viewer.items(self.stream, 0, run_id)) as items:
            while True:
                try:
                    async with asyncio.timeout(max(0.0, until - time.monotonic())):
                        item = await anext(items)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    yield await self.standing(run_id, cut=view.cut)
                    return
                for seen in view.take(item):
                    yield seen
                if isinstance(item, Event) and item.type in ENDS | STOPS:
                    found = await self.standing(run_id, cut=view.cut)
                    if settled(found.run):
                        yield found
                        return

    async def standing(self, run_id: UUID, *, cut: bool = False) -> Standing:
        async with unit_of_work(self.sessions) as session:
            run, agent = await self.runs.get(session, run_id)
            pending: Sequence[tuple[Approval, str]] = ()
            if run.wait_reason == WaitReason.APPROVAL:
                wanted = Wanted(status=ApprovalStatus.PENDING, run_id=run_id)
                pending = await self.approvals.page(session, wanted, before=None, limit=1)
        return Standing(run, agent, pending[0][0] if pending else None, cut)


def settled(run: Run) -> bool:
    """Whether waiting longer changes nothing until somebody does something. Old news of a wait is none."""
    status = RunStatus(run.status)
    return status.ended or status is RunStatus.PAUSED or (status is RunStatus.WAITING and run.wait_reason in FOR_PEOPLE)


@dataclass(slots=True)
class _View:
    """Puts deltas and journaled replies together, each text once and in its place."""

    order: Order = field(default_factory=Order)
    transcript: Transcript = field(default_factory=Transcript)
    cut: bool = False

    def take(self, item: Event | Delta | Heartbeat) -> list[Seen]:
        if isinstance(item, Heartbeat):
            return [Beat()]
        if isinstance(item, Delta):
            return self._deltas(self.order.take(_delta(item)))
        return self._happened(item)

    def _happened(self, event: Event) -> list[Seen]:
        data, seen = event.data, list[Seen]()
        match event.type:
            case EventType.MODEL_REPLIED:
                self.cut = data.get("finish_reason") == "length"
                seen += _text(self.transcript.reply(str(data["step"]), str(data["text"])))
            case EventType.TOOL_REQUESTED:
                seen.append(ToolBegan(str(data["step"]), str(data["tool"]), dict(data["arguments"])))
            case EventType.TOOL_FINISHED:
                said = str(data["summary"])
                seen.append(ToolEnded(str(data["step"]), str(data["tool"]), bool(data["ok"]), said))
        return [*seen, *self._deltas(self.order.happened(_event(event)))]

    def _deltas(self, deltas: Sequence[ClientDelta]) -> list[Seen]:
        return [seen for delta in deltas for seen in _text(self.transcript.delta(delta))]


def _text(piece: Piece | None) -> list[Seen]:
    return [] if piece is None else [Text(piece.step, piece.text, piece.restarted)]


def _event(event: Event) -> ClientEvent:
    return ClientEvent(
        seq=event.seq, id=str(event.id), type=event.type, at=event.at, actor=event.actor, data=event.data
    )  # fmt: skip


def _delta(delta: Delta) -> ClientDelta:
    return ClientDelta(
        run_id=str(delta.run_id), step=delta.step, attempt=delta.attempt, offset=delta.offset, text=delta.text
    )
