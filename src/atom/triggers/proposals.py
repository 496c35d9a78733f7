"""Tasks that an agent may not begin by itself: opened by triggers, decided by people, once."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from atom.errors import InvalidError
from atom.events.models import EventType
from atom.events.service import Outbox
from atom.governance.decide import Trigger
from atom.identity.models import Principal
from atom.kit.text import clean, shorten
from atom.runs.provenance import OWN_WORDS, Provenance, from_columns
from atom.runs.service import Order, RunService
from atom.triggers import store
from atom.triggers.errors import ProposalNotFoundError, ProposalSettledError
from atom.triggers.models import Proposal, ProposalStatus
from atom.triggers.ports import Origin

SECONDS = 7 * 86_400.0
MAX_NOTE = 2000
EVENT_TASK = 2000
AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class ProposalService:
    runs: RunService
    outbox: Outbox

    async def open(self, session: AsyncSession, agent_id: UUID, task: str, origin: Origin) -> UUID:
        came = {"origin": origin.kind, "trigger_id": origin.trigger_id, "firing_id": origin.firing_id}
        what = {"agent_id": agent_id, "task": task, "expires_at": store.ahead(SECONDS)}
        id_ = await store.add_proposal(session, {**came, **what})
        data = {"proposal_id": str(id_), "origin": origin.kind, "task": shorten(task, EVENT_TASK)}
        await self.outbox.emit(
            session, EventType.PROPOSAL_OPENED, actor=f"trigger:{origin.kind}", agent_id=agent_id, data=data
        )
        return id_

    async def get(self, session: AsyncSession, id_: UUID, *, lock: bool = False) -> tuple[Proposal, str]:
        """The proposal and its agent's name."""
        found = await store.proposal(session, id_, lock=lock)
        if found is None:
            raise ProposalNotFoundError(str(id_))
        return found

    async def page(
        self,
        session: AsyncSession,
        *,
        status: ProposalStatus | None,
        before: UUID | None,
        limit: int,
    ) -> Sequence[tuple[Proposal, str]]:
        return await store.proposals(session, status=status and status.value, before=before, limit=limit)

    async def decide(
        self, session: AsyncSession, by: Principal, id_: UUID, *, approve: bool, note: str | None
    ) -> tuple[Proposal, str]:
        """An approved run starts in this transaction, as asked for by whoever approves it, and still as an automated
        one: what it does passes the door as such. Raises ProposalSettledError, and what the start of a run raises."""
        if note is not None and len(note) > MAX_NOTE:
            raise InvalidError(f"note: {len(note)} characters; at most {MAX_NOTE}.", field="note")
        proposal, _ = await self.get(session, id_, lock=True)
        now = await store.now(session)
        if proposal.status != ProposalStatus.OPEN or (proposal.expires_at is not None and proposal.expires_at <= now):
            status = "expired" if proposal.status == ProposalStatus.OPEN else proposal.status
            raise ProposalSettledError(f"Proposal {id_} is {status} already.", hint="`atom triggers proposals` lists.")
        run_id = None
        if approve:
            words = await self._words(session, proposal)
            order = Order(proposal.task, trigger=Trigger(proposal.origin), origin=words)
            run_id = await self.runs.start(session, by, str(proposal.agent_id), order)
            if proposal.firing_id is not None:
                await store.settle(session, proposal.firing_id, {"run_id": run_id})
            if proposal.trigger_id is not None:
                await store.change(session, proposal.trigger_id, {"last_run_id": run_id})
        status = ProposalStatus.APPROVED if approve else ProposalStatus.REJECTED
        said = {"status": status.value, "decided_by": by.actor, "note": clean(note) if note else None}
        await store.decide_proposal(session, id_, {**said, "run_id": run_id})
        await self._tell(session, proposal, status, by=by.actor, run_id=run_id)
        return await self.get(session, id_)

    async def _words(self, session: AsyncSession, proposal: Proposal) -> Provenance:
        """Who approves a task does not vouch for what came into it from elsewhere."""
        if proposal.firing_id is None:
            return OWN_WORDS
        firing = await store.firing(session, proposal.firing_id)
        return from_columns(firing.origin_labels, firing.origin_said)

    async def expire_due(self, session: AsyncSession) -> None:
        """For the sweep."""
        due = Proposal.expires_at <= func.now()
        for proposal in await store.end_proposals(session, ProposalStatus.EXPIRED, due, limit=AT_ONCE):
            await self._tell(session, proposal, ProposalStatus.EXPIRED, by="system:expiry")

    async def dismiss_of(self, session: AsyncSession, trigger_id: UUID, *, by: str) -> None:
        """The trigger is gone: nobody needs to decide what it proposed."""
        which = Proposal.trigger_id == trigger_id
        for proposal in await store.end_proposals(session, ProposalStatus.DISMISSED, which, limit=AT_ONCE):
            await self._tell(session, proposal, ProposalStatus.DISMISSED, by=by)

    async def _tell(
        self,
        session: AsyncSession,
        proposal: Proposal,
        status: ProposalStatus,
        *,
        by: str,
        run_id: UUID | None = None,
    ) -> None:
        data = {"proposal_id": str(proposal.id), "status": status.value}
        await self.outbox.emit(
            session, EventType.PROPOSAL_DECIDED, actor=by, agent_id=proposal.agent_id, run_id=run_id, data=data
        )
