"""Runs from outside: started, started anew, read."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent, AgentStatus
from atom.agents.service import AgentService
from atom.durable.ports import Doorbell, Topic
from atom.events.models import EventType
from atom.events.service import Outbox
from atom.governance.decide import Trigger
from atom.identity.models import Principal
from atom.kit.ids import new_id
from atom.kit.text import canonical_json, clean, shorten
from atom.runs import options, store
from atom.runs.errors import (
    AgentNotActiveError,
    ConversationNotFoundError,
    FileMissingError,
    IdempotencyMismatchError,
    RunNotFoundError,
    RunOpenError,
    TaskInvalidError,
    TaskTooLargeError,
)
from atom.runs.models import Conversation, Priority, Run, RunStatus, Step
from atom.runs.options import NOTHING_ASKED, RunOptions
from atom.runs.ports import Workspaces
from atom.runs.provenance import OWN_WORDS, Provenance, from_columns
from atom.settings import RunSettings

EVENT_TASK = 2000
MAX_FILES = 50
MAX_KEY = 200
HISTORY_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody wants an agent to do."""

    task: str
    files: tuple[str, ...] = ()
    conversation_id: UUID | None = None
    model: str | None = None
    trigger: Trigger = Trigger.MANUAL
    priority: Priority = Priority.NORMAL
    no_cache: bool = False
    options: RunOptions = NOTHING_ASKED
    origin: Provenance = OWN_WORDS


@dataclass(frozen=True, slots=True)
class Accepted:
    """An order that was checked; `retry_of` is the first run of a line of retries."""

    agent: Agent
    order: Order
    conversation_id: UUID
    retry_of: UUID | None = None


@dataclass(frozen=True, slots=True)
class RunService:
    """`check_model` raises for a model that cannot be chosen."""

    agents: AgentService
    outbox: Outbox
    doorbell: Doorbell
    workspaces: Workspaces
    settings: RunSettings
    check_model: Callable[[str], object]

    async def start(
        self, session: AsyncSession, by: Principal, agent_ref: str, order: Order, *, idempotency_key: str | None = None
    ) -> UUID:
        """Accept a task. Once this commits, the run ends, waits visibly, or is worked on: it cannot be lost."""
        fingerprint = _fingerprint(agent_ref, order)
        if idempotency_key is not None:
            known = await self._first_answer(session, by, idempotency_key, fingerprint)
            if known is not None:
                return known
        agent = await self.agents.get(session, agent_ref)
        await self._check(agent, order)
        conversation_id = await self._conversation(session, agent, order.conversation_id)
        accepted = Accepted(agent, order, conversation_id)
        return await self._accept(session, by, accepted, idempotency_key=idempotency_key, fingerprint=fingerprint)

    async def retry(self, session: AsyncSession, by: Principal, id_: UUID, *, idempotency_key: str | None) -> UUID:
        """The task of a run that has ended, as a new run of the agent as it is now, in the same conversation.

        Raises RunOpenError for a run that goes on.
        """
        fingerprint = hashlib.sha256(f"retry {id_}".encode()).hexdigest()
        if idempotency_key is not None:
            known = await self._first_answer(session, by, idempotency_key, fingerprint)
            if known is not None:
                return known
        old, _ = await self.get(session, id_)
        if not RunStatus(old.status).ended:
            raise RunOpenError(f"Run {id_} has not ended ({old.status}).", hint="`atom runs cancel` ends it.")
        agent = await self.agents.get(session, str(old.agent_id))
        order = Order(
            task=old.task,
            files=tuple(old.files),
            conversation_id=old.conversation_id,
            model=old.requested_model,
            priority=Priority.of(old.priority),
            no_cache=old.no_cache,
            options=options.from_json(old.options),
            origin=from_columns(old.origin_labels, old.origin_said),
        )
        await self._check(agent, order)
        accepted = Accepted(agent, order, old.conversation_id, retry_of=old.retry_of or old.id)
        return await self._accept(session, by, accepted, idempotency_key=idempotency_key, fingerprint=fingerprint)

    async def _accept(
        self, session: AsyncSession, by: Principal, accepted: Accepted, *, idempotency_key: str | None, fingerprint: str
    ) -> UUID:
        run_id = new_id()
        agent, order = accepted.agent, accepted.order
        values = {
            "id": run_id,
            "agent_id": agent.id,
            "agent_version": agent.version,
            "conversation_id": accepted.conversation_id,
            "trigger": order.trigger.value,
            "requested_by": by.actor,
            "task": clean(order.task),
            "files": list(order.files),
            "requested_model": order.model or agent.model,
            "priority": order.priority.rank,
            "retry_of": accepted.retry_of,
            "no_cache": order.no_cache,
            "options": options.to_json(order.options),
            "labels": sorted(order.origin.labels),
            **order.origin.columns(),
        }
        await store.add_run(session, values)
        if idempotency_key is not None:
            known = {"principal": str(by.key_id), "key": idempotency_key, "fingerprint": fingerprint, "run_id": run_id}
            await store.remember_key(session, known)
        data = {
            "task": shorten(clean(order.task), EVENT_TASK),
            "conversation_id": str(accepted.conversation_id),
            **({"retry_of": str(accepted.retry_of)} if accepted.retry_of else {}),
        }
        await self.outbox.emit(
            session, EventType.RUN_QUEUED, actor=by.actor, agent_id=agent.id, run_id=run_id, data=data
        )
        await self.doorbell.ring(session, Topic.RUN, [run_id])
        return run_id

    async def get(self, session: AsyncSession, id_: UUID) -> tuple[Run, str]:
        """The run and its agent's name."""
        found = await store.with_agent_name(session, id_)
        if found is None:
            raise RunNotFoundError(str(id_))
        return found

    async def page(
        self,
        session: AsyncSession,
        *,
        agent: str | None,
        status: RunStatus | None,
        before: UUID | None,
        limit: int,
    ) -> Sequence[tuple[Run, str]]:
        agent_id = (await self.agents.get(session, agent)).id if agent is not None else None
        return await store.page(session, agent_id=agent_id, status=status and status.value, before=before, limit=limit)

    async def steps(self, session: AsyncSession, id_: UUID, *, after: int, limit: int) -> Sequence[Step]:
        await self.get(session, id_)
        return await store.steps(session, id_, after=after, limit=limit)

    async def conversation(self, session: AsyncSession, id_: UUID) -> tuple[Conversation, Sequence[Run]]:
        found = await store.conversation(session, id_)
        if found is None:
            raise ConversationNotFoundError(str(id_))
        return found, await store.in_conversation(session, id_, before=None, limit=HISTORY_SHOWN)

    async def _first_answer(self, session: AsyncSession, by: Principal, key: str, fingerprint: str) -> UUID | None:
        """The run that this key started before. The lock makes simultaneous twins wait for each other."""
        if not 0 < len(key) <= MAX_KEY or not key.isprintable():
            raise TaskInvalidError(f"Idempotency-Key: 1 to {MAX_KEY} printable characters.", field="Idempotency-Key")
        name = f"{by.key_id}:{key}"
        await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
        known = await store.remembered_key(session, str(by.key_id), key)
        if known is None:
            return None
        if known.fingerprint != fingerprint:
            raise IdempotencyMismatchError(
                "Idempotency-Key: this key came before with another request.",
                hint="Use a new key.",
                field="Idempotency-Key",
            )
        return known.run_id

    async def _conversation(self, session: AsyncSession, agent: Agent, wanted: UUID | None) -> UUID:
        if wanted is None:
            return await store.add_conversation(session, agent.id)
        found = await store.conversation(session, wanted)
        if found is None or found.agent_id != agent.id:
            raise ConversationNotFoundError(str(wanted))
        return found.id

    async def _check(self, agent: Agent, order: Order) -> None:
        if agent.status != AgentStatus.ACTIVE:
            raise AgentNotActiveError(
                f"Agent {agent.name!r} is {agent.status}.", hint="`atom agents resume` wakes a paused one."
            )
        if not order.task.strip():
            raise TaskInvalidError("task: it is empty.", field="task")
        if len(order.task) > self.settings.max_task_chars:
            raise TaskTooLargeError(
                f"task: {len(order.task)} characters; at most {self.settings.max_task_chars}.",
                hint="Give long material as a file (`--file`), and the agent reads what it needs.",
                field="task",
            )
        if len(order.files) > MAX_FILES:
            raise FileMissingError(f"files: {len(order.files)} of them; at most {MAX_FILES}.", field="files")
        for path in order.files:
            if not await self.workspaces.has_file(agent.id, path):
                raise FileMissingError(
                    f"files: {path!r} is not a file of this agent's workspace.", hint="Upload it first.", field="files"
                )
        options.check(order.options)
        if order.model:
            self.check_model(order.model)


def _fingerprint(agent: str, order: Order) -> str:
    body = [agent, order.task, list(order.files), str(order.conversation_id), order.model]
    if order.priority is not Priority.NORMAL:
        body.append(order.priority.value)
    if order.no_cache:
        body.append("no_cache")
    if order.options != NOTHING_ASKED:
        body.append(canonical_json(options.to_json(order.options)))
    return hashlib.sha256(canonical_json(body).encode("utf-8", "replace")).hexdigest()
