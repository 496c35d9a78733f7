"""Questions to people: listed, decided once, by whoever may, with who and why on record."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.errors import InvalidError
from atom.events.models import EventType
from atom.events.service import Outbox
from atom.governance import store
from atom.governance.errors import ApprovalExpiredError, ApprovalNotFoundError, ApprovalSettledError
from atom.governance.evidence.kinds import ApprovalOutcome
from atom.governance.evidence.service import EvidenceService
from atom.governance.ports import RunWaker
from atom.governance.tables import Approval, ApprovalStatus
from atom.identity.models import Principal
from atom.kit.text import clean

MAX_NOTE = 2000
EXPIRED_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class ApprovalService:
    """The one place where an approval is decided. No tool, no prompt and no agent's key reaches it."""

    outbox: Outbox
    waker: RunWaker
    evidence: EvidenceService

    async def get(self, session: AsyncSession, id_: UUID) -> tuple[Approval, str]:
        """The approval and its agent's name."""
        found = await store.approval(session, id_)
        if found is None:
            raise ApprovalNotFoundError(str(id_))
        return found

    async def page(
        self,
        session: AsyncSession,
        *,
        status: ApprovalStatus | None,
        run_id: UUID | None,
        before: UUID | None,
        limit: int,
    ) -> Sequence[tuple[Approval, str]]:
        return await store.approvals(session, status=status and status.value, run_id=run_id, before=before, limit=limit)

    async def decide(
        self, session: AsyncSession, by: Principal, id_: UUID, *, approve: bool, note: str | None
    ) -> tuple[Approval, str]:
        """Approve or reject, and let the run go on. Raises ApprovalSettledError, ApprovalExpiredError."""
        if note is not None and len(note) > MAX_NOTE:
            raise InvalidError(f"note: {len(note)} characters; at most {MAX_NOTE}.", field="note")
        approval, _ = await self.get(session, id_)
        await self.waker.hold(session, approval.execution_id)
        status = ApprovalStatus.APPROVED if approve else ApprovalStatus.REJECTED
        if not await store.settle(session, id_, status, by=by.actor, note=clean(note) if note else None):
            approval, _ = await self.get(session, id_)  # as it is now: somebody may have been first
            raise self._refusal(approval, id_)
        approval, agent = await self.get(session, id_)
        await self._record(session, approval, by.actor, status)
        outcome = ApprovalOutcome.APPROVED if approve else ApprovalOutcome.REJECTED
        await self.evidence.approval_decided(session, approval, outcome)
        await self.waker.wake(session, approval.execution_id, by=by.actor)
        return approval, agent

    async def expire_due(self, session: AsyncSession) -> None:
        """End what nobody decided in time; the run goes on and its agent is told. For the sweep."""
        for id_, run_id in await store.due(session, limit=EXPIRED_AT_ONCE):
            await self.waker.hold(session, run_id)
            if not await store.expire(session, id_):
                continue
            approval, _ = await self.get(session, id_)
            await self._record(session, approval, "system:expiry", ApprovalStatus.EXPIRED)
            await self.waker.wake(session, run_id, by="system:expiry")

    async def _record(self, session: AsyncSession, approval: Approval, actor: str, status: ApprovalStatus) -> None:
        await store.audit(
            session,
            {
                "actor": actor,
                "action": approval.action,
                "decision": status.value,
                "reason": approval.reason,
                "agent_id": approval.agent_id,
                "run_id": approval.execution_id,
                "data": {"approval_id": str(approval.id), "digest": approval.digest},
            },
        )
        await self.outbox.emit(
            session,
            EventType.APPROVAL_DECIDED,
            actor=actor,
            agent_id=approval.agent_id,
            run_id=approval.execution_id,
            data={"approval_id": str(approval.id), "tool": approval.action, "status": status.value},
        )

    def _refusal(self, approval: Approval, id_: UUID) -> ApprovalSettledError | ApprovalExpiredError:
        if approval.status == ApprovalStatus.PENDING:
            return ApprovalExpiredError(f"The time to decide approval {id_} is over.")
        return ApprovalSettledError(
            f"Approval {id_} is {approval.status} already.", hint="`atom approvals show` says by whom and why."
        )
