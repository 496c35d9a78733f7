"""Runs that belong together: a run whose agent calls another agent starts that agent's run, and waits for it.

Whoever locks several runs does it in the order of their ids. A run is older than those it starts, so a family is
always locked from the top down, and two transactions never wait for each other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.errors import AgentNotFoundError
from atom.agents.models import Agent, AgentStatus
from atom.agents.service import AgentService
from atom.durable.ports import Doorbell, Topic
from atom.events.models import EventType
from atom.events.service import Outbox
from atom.governance.decide import Trigger
from atom.governance.service import GovernanceService
from atom.infra.db import after_commit
from atom.kit.ids import new_id
from atom.kit.text import clean, shorten
from atom.runs import store
from atom.runs.errors import ChildRefusedError
from atom.runs.models import Run, RunStatus, WaitReason
from atom.runs.transitions import State, cancel, woken
from atom.settings import RunSettings

EVENT_TASK = 2000
CANCEL_CHANNEL = "atom_cancel"  # its payload is the run's id
ROUNDS = 20  # of looking for runs that were started meanwhile


@dataclass(frozen=True, slots=True)
class Family:
    """`stop_here` ends a run at once if this process works on it; other processes are told by NOTIFY."""

    agents: AgentService
    governance: GovernanceService
    outbox: Outbox
    doorbell: Doorbell
    settings: RunSettings
    stop_here: Callable[[UUID], None]

    async def child(
        self,
        session: AsyncSession,
        parent: Run,
        step: str,
        *,
        callers: Sequence[UUID],
        agent_ref: str,
        task: str,
        labels: Sequence[str] = (),
    ) -> Run:
        """The run that this call of `parent` has started, or starts now. The caller owns and has locked the parent.

        `callers` are the agents above the parent's own. `labels`: of what it has read. Raises ChildRefusedError.
        """
        known = await store.child(session, parent.id, step)
        if known is not None:
            return known
        agent = await self._callee(session, agent_ref, [parent.agent_id, *callers])
        self._check_task(task)
        run_id = new_id()
        conversation_id = await store.add_conversation(session, agent.id)
        caller = await self.agents.get(session, str(parent.agent_id))
        values = {
            "id": run_id,
            "agent_id": agent.id,
            "agent_version": agent.version,
            "conversation_id": conversation_id,
            "trigger": Trigger.AGENT.value,
            "requested_by": f"agent:{caller.name}",
            "task": clean(task),
            "files": [],
            "requested_model": agent.model,
            "priority": parent.priority,
            "parent_id": parent.id,
            "parent_step": step,
            "labels": list(labels),
            "origin_labels": list(labels),
        }
        await store.add_run(session, values)
        data = {
            "task": shorten(clean(task), EVENT_TASK),
            "conversation_id": str(conversation_id),
            "parent_id": str(parent.id),
        }
        actor = f"agent:{caller.name}"
        await self.outbox.emit(session, EventType.RUN_QUEUED, actor=actor, agent_id=agent.id, run_id=run_id, data=data)
        await self.doorbell.ring(session, Topic.RUN, [run_id])
        started = await store.get(session, run_id)
        assert started is not None
        return started

    async def hold_parent(self, session: AsyncSession, run: Run) -> None:
        """Lock the run that waits for this one, before this one is written: see the order of locks above."""
        if run.parent_id is not None:
            await store.locked(session, [run.parent_id])

    async def ended(self, session: AsyncSession, run: Run, status: RunStatus, *, by: str) -> None:
        """In the transaction that ends `run`: it asks nothing any more, nobody works for it, its caller goes on."""
        await self.governance.withdraw_approvals(session, run.id)
        if status is not RunStatus.COMPLETED:  # a run that completed has the end of every call it made
            await self.cancel_descendants(session, run.id, by=by)
        if run.parent_id is not None:
            await self.wake(session, run.parent_id, WaitReason.CHILD, by=by)

    async def wake(self, session: AsyncSession, run_id: UUID, reason: WaitReason, *, by: str) -> None:
        """Let a run go on that waits for just this; any other is left as it is."""
        for run, state in await store.locked(session, [run_id]):
            awake = woken(state, reason)
            if awake is not None:
                await self.queue(session, run, awake, by=by)

    async def queue(self, session: AsyncSession, run: Run, state: State, *, by: str, **values: Any) -> None:
        """Write a run back into the queue, `values` with it."""
        await store.wake(session, run.id, state, values)
        await self.outbox.emit(session, EventType.RUN_RESUMED, actor=by, agent_id=run.agent_id, run_id=run.id, data={})
        await self.doorbell.ring(session, Topic.RUN, [run.id])

    async def cancel_descendants(self, session: AsyncSession, run_id: UUID, *, by: str) -> None:
        for run, state in await self.locked_descendants(session, run_id):
            await self.cancel_one(session, run, state, by=by)

    async def locked_descendants(self, session: AsyncSession, run_id: UUID) -> list[tuple[Run, State]]:
        """What `run_id` (locked by the caller) has started and theirs, as far as it is open, locked.

        A run starts another only under its own lock: when a look finds nobody new, nobody new can come.
        """
        found: dict[UUID, tuple[Run, State]] = {}
        for _ in range(ROUNDS):
            fresh = [id_ for id_ in await store.descendants(session, run_id) if id_ not in found]
            if not fresh:
                break
            found.update({run.id: (run, state) for run, state in await store.locked(session, fresh)})
        return [found[id_] for id_ in sorted(found) if not found[id_][1].status.ended]

    async def cancel_one(self, session: AsyncSession, run: Run, state: State, *, by: str) -> bool:
        """Cancel a locked run. True when it has ended with that; else the worker that has it is told."""
        after = cancel(state)
        asked = {
            "cancel_requested_at": func.coalesce(Run.cancel_requested_at, func.now()),
            "cancel_requested_by": func.coalesce(Run.cancel_requested_by, by),
        }
        await store.put(session, run.id, after, asked)
        if not after.status.ended:
            await store.tell_workers(session, CANCEL_CHANNEL, str(run.id))
            after_commit(session, lambda: self.stop_here(run.id))
            return False
        await self.governance.withdraw_approvals(session, run.id)
        await self.outbox.emit(
            session, EventType.RUN_CANCELLED, actor=by, agent_id=run.agent_id, run_id=run.id, data={}
        )
        return True

    async def _callee(self, session: AsyncSession, ref: str, above: Sequence[UUID]) -> Agent:
        try:
            agent = await self.agents.get(session, ref)
        except AgentNotFoundError as error:
            raise ChildRefusedError(f"agent: there is no agent {ref[:64]!r}.", hint="Give its exact name.") from error
        if agent.status != AgentStatus.ACTIVE:
            raise ChildRefusedError(f"agent: {agent.name!r} is {agent.status}.", hint="Do it without that agent.")
        if agent.id in above:
            raise ChildRefusedError(
                f"agent: {agent.name!r} is waiting for this very run, further up.",
                hint="An agent cannot call itself, nor one that has called it. Do this part yourself.",
            )
        if len(above) > self.settings.max_depth:
            raise ChildRefusedError(
                f"agent: calls nest {len(above)} deep already.", hint="Do this part yourself, without another agent."
            )
        return agent

    def _check_task(self, task: str) -> None:
        if not task.strip():
            raise ChildRefusedError("task: it is empty.", hint="Say what the other agent is to do.")
        if len(task) > self.settings.max_task_chars:
            raise ChildRefusedError(
                f"task: {len(task)} characters; at most {self.settings.max_task_chars}.", hint="Shorten it."
            )
