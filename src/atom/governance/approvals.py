"""Questions to people: listed, decided by whoever may, with who and why on record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.errors import AtomError, InvalidError
from atom.events.models import EventType
from atom.events.service import Outbox
from atom.governance import inbox_store, store
from atom.governance.errors import (
    ApprovalAssignedError,
    ApprovalChangedError,
    ApprovalExpiredError,
    ApprovalFourEyesError,
    ApprovalNotFoundError,
    ApprovalSettledError,
)
from atom.governance.eyes import ROLE, enough, person, still_assigned, withheld
from atom.governance.inbox_store import Decider, Wanted
from atom.governance.models import Eyes
from atom.governance.ports import ApprovalListener, ArgumentsCheck, Outcome, RunWaker
from atom.governance.service import digest
from atom.governance.tables import Approval, ApprovalStatus
from atom.identity.models import Permission, Principal, Role
from atom.kit.text import clean, clean_json

MAX_NOTE = 2000
MAX_BATCH = 100
EXPIRED_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Word:
    """What a person says. `arguments`: approve the call with these instead. `digest`: the call they have looked at."""

    approve: bool
    note: str | None = None
    arguments: Mapping[str, Any] | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """Of one approval of a batch: as it is now, or why this one was not decided."""

    id: UUID
    approval: Approval | None
    error: AtomError | None


@dataclass(frozen=True, slots=True)
class ApprovalService:
    """The one place where an approval is decided. No tool, no prompt and no agent's key reaches it."""

    outbox: Outbox
    waker: RunWaker
    check: ArgumentsCheck
    listeners: tuple[ApprovalListener, ...] = ()

    async def get(self, session: AsyncSession, id_: UUID) -> tuple[Approval, str]:
        """The approval and its agent's name."""
        found = await store.approval(session, id_)
        if found is None:
            raise ApprovalNotFoundError(str(id_))
        return found

    async def page(
        self, session: AsyncSession, wanted: Wanted, *, before: UUID | None, limit: int
    ) -> Sequence[tuple[Approval, str]]:
        return await inbox_store.page(session, wanted, before=before, limit=limit)

    async def counts(self, session: AsyncSession) -> dict[ApprovalStatus, int]:
        found = await inbox_store.counts(session)
        return {status: found.get(status.value, 0) for status in ApprovalStatus}

    async def count_mine(self, session: AsyncSession, by: Principal) -> int:
        return await inbox_store.count(session, Wanted(mine=decider(by)))

    async def decide(self, session: AsyncSession, by: Principal, id_: UUID, word: Word) -> tuple[Approval, str]:
        """Approve or reject. The run goes on as soon as the question is settled: after one no, or enough who say yes.

        Raises ApprovalSettledError, ApprovalExpiredError, ApprovalFourEyesError, ApprovalAssignedError,
        ApprovalChangedError, ApprovalArgumentsError.
        """
        _check_note(word.note)
        approval, _ = await self.get(session, id_)
        await self.waker.hold(session, approval.execution_id)
        approval, _ = await self.get(session, id_)  # as it is under the lock: somebody may have been first
        await self._check_may(session, by, approval)
        if word.digest is not None and word.digest != approval.digest:
            raise ApprovalChangedError(
                f"Approval {id_} is about another call by now.", hint="Look at it again: `atom approvals show`."
            )
        note = clean(word.note) if word.note else None
        settled = await (self._yes if word.approve else self._no)(session, by, approval, word, note)
        if settled:
            await self.waker.wake(session, approval.execution_id, by=by.actor)
        return await self.get(session, id_)

    async def decide_batch(
        self, session: AsyncSession, by: Principal, ids: Sequence[UUID], *, seen: str, note: str | None
    ) -> list[BatchOutcome]:
        """Approve those of `ids` that are about exactly the call `seen`, each in a savepoint of its own.

        A digest does not tell agents apart: they all have to be of one.
        """
        _check_note(note)
        if not 0 < len(set(ids)) <= MAX_BATCH:
            raise InvalidError(f"ids: 1 to {MAX_BATCH} of them.", field="ids")
        found = {id_: await store.approval(session, id_) for id_ in set(ids)}
        if len({one[0].agent_id for one in found.values() if one is not None and one[0].digest == seen}) > 1:
            raise InvalidError("ids: these are calls of several agents.", hint="Approve them apart.", field="ids")
        # Runs are locked in the order in which everybody locks them.
        order = sorted(found, key=lambda id_: (one[0].execution_id, id_) if (one := found[id_]) else (id_, id_))
        for one in (found[id_] for id_ in order):  # all of them before the agent, which the first decision locks
            if one is not None:
                await self.waker.hold(session, one[0].execution_id)
        outcomes = {id_: await self._one_of_batch(session, by, id_, Word(True, note, None, seen)) for id_ in order}
        return [outcomes[id_] for id_ in dict.fromkeys(ids)]

    async def expire_due(self, session: AsyncSession) -> None:
        """End what nobody decided in time; the run goes on and its agent is told. For the sweep."""
        for id_, run_id in await store.due(session, limit=EXPIRED_AT_ONCE):
            await self.waker.hold(session, run_id)
            if not await store.expire(session, id_):
                continue
            await self._ended(session, id_, "system:expiry", Outcome.EXPIRED)
            await self.waker.wake(session, run_id, by="system:expiry")

    async def may_decide(self, session: AsyncSession, by: Principal, approval: Approval) -> bool:
        """Whether it is assigned to nobody else."""
        mine = {person(by.actor), f"{ROLE}{by.role.value}"}
        if approval.assignee is None or by.role is Role.ADMIN or approval.assignee in mine:
            return True
        return await inbox_store.is_deputy(session, person(by.actor), of=approval.assignee)

    async def _one_of_batch(self, session: AsyncSession, by: Principal, id_: UUID, word: Word) -> BatchOutcome:
        try:
            async with session.begin_nested():
                approval, _ = await self.decide(session, by, id_, word)
        except (ApprovalNotFoundError, ApprovalSettledError, ApprovalExpiredError) as error:
            return BatchOutcome(id_, None, error)
        except (ApprovalFourEyesError, ApprovalAssignedError, ApprovalChangedError) as error:
            return BatchOutcome(id_, None, error)
        return BatchOutcome(id_, approval, None)

    async def _check_may(self, session: AsyncSession, by: Principal, approval: Approval) -> None:
        if approval.status != ApprovalStatus.PENDING:
            raise _refusal(approval)
        if not await self.may_decide(session, by, approval):
            raise ApprovalAssignedError(
                f"Approval {approval.id} is assigned to {approval.assignee}.", hint="They, or an admin, decide it."
            )
        if person(by.actor) in approval.withheld:
            why = "asked for this run" if approval.eyes == Eyes.OTHER else "have approved it already"
            raise ApprovalFourEyesError(f"You {why}: somebody else has to decide.", hint="It takes four eyes.")

    async def _no(self, session: AsyncSession, by: Principal, approval: Approval, _: Word, note: str | None) -> bool:
        if not await store.settle(session, approval.id, ApprovalStatus.REJECTED, by=by.actor, note=note):
            raise _late(approval)
        await self._ended(session, approval.id, by.actor, Outcome.REJECTED)
        return True

    async def _yes(
        self, session: AsyncSession, by: Principal, approval: Approval, word: Word, note: str | None
    ) -> bool:
        """One yes more. True when that is enough."""
        edit = self._edit(approval, word, by.actor)
        eyes = Eyes(approval.eyes)
        said = [*([] if edit else approval.said_yes), by.actor]
        held = withheld(eyes, approval.requested_by, said)
        done = enough(eyes, approval.requested_by, said)
        values = edit | {"withheld": held}
        if not done:
            values["assignee"] = still_assigned(approval.assignee, held)
        if not await store.say_yes(session, approval.id, by=by.actor, note=note, alone=bool(edit), values=values):
            raise _late(approval)
        if not done:
            await self._first_yes(session, approval.id, by.actor)
            return False
        await store.settle(session, approval.id, ApprovalStatus.APPROVED, by=by.actor, note=note)
        edited = bool(edit) or approval.edited_from is not None
        await self._ended(session, approval.id, by.actor, Outcome.EDITED if edited else Outcome.APPROVED)
        return True

    def _edit(self, approval: Approval, word: Word, actor: str) -> dict[str, Any]:
        """What an edit changes in the row. Nothing when the arguments are as they were."""
        if word.arguments is None:
            return {}
        arguments = self.check.check(approval.action, word.arguments)
        changed = digest(approval.agent_version, approval.action, arguments)
        if changed == approval.digest:
            return {}
        before = approval.edited_from or {"digest": approval.digest, "arguments": approval.arguments}
        if changed == before["digest"]:  # back to what the agent had asked for
            return {"arguments": arguments, "digest": changed, "edited_from": None, "edited_by": None}
        return {"arguments": arguments, "digest": changed, "edited_from": before, "edited_by": actor}

    async def _first_yes(self, session: AsyncSession, id_: UUID, actor: str) -> None:
        approval, _ = await self.get(session, id_)
        await store.audit(session, audit_row(approval, actor, "first_yes"))
        await self._emit(session, approval, actor, "first_yes")

    async def _ended(self, session: AsyncSession, id_: UUID, actor: str, outcome: Outcome) -> None:
        approval, _ = await self.get(session, id_)
        await store.audit(session, audit_row(approval, actor, outcome.value))
        await self._emit(session, approval, actor, approval.status)
        for listener in self.listeners:
            await listener.decided(session, approval, outcome)

    async def _emit(self, session: AsyncSession, approval: Approval, actor: str, status: str) -> None:
        said: dict[str, Any] = {"approval_id": str(approval.id), "tool": approval.action, "status": status}
        if approval.edited_from is not None:
            said |= {"edited": True, "arguments": clean_json(approval.arguments)}
        type_ = EventType.APPROVAL_FIRST_YES if status == "first_yes" else EventType.APPROVAL_DECIDED
        await self.outbox.emit(
            session, type_, actor=actor, agent_id=approval.agent_id, run_id=approval.execution_id, data=said
        )


def decider(by: Principal) -> Decider:
    return Decider(person(by.actor), by.role.value, by.role is Role.ADMIN, by.may(Permission.APPROVALS_WRITE))


def audit_row(approval: Approval, actor: str, decision: str, **more: object) -> dict[str, Any]:
    before = {} if approval.edited_from is None else {"edited_from": approval.edited_from["digest"]}
    return {
        "actor": actor,
        "action": approval.action,
        "decision": decision,
        "reason": approval.reason,
        "agent_id": approval.agent_id,
        "run_id": approval.execution_id,
        "data": {"approval_id": str(approval.id), "digest": approval.digest, **before, **more},
    }


def _check_note(note: str | None) -> None:
    if note is not None and len(note) > MAX_NOTE:
        raise InvalidError(f"note: {len(note)} characters; at most {MAX_NOTE}.", field="note")


def _late(approval: Approval) -> ApprovalExpiredError:
    return ApprovalExpiredError(f"The time to decide approval {approval.id} is over.")


def _refusal(approval: Approval) -> ApprovalSettledError | ApprovalExpiredError:
    if approval.status == ApprovalStatus.EXPIRED:
        return _late(approval)
    return ApprovalSettledError(
        f"Approval {approval.id} is {approval.status} already.", hint="`atom approvals show` says by whom and why."
    )
