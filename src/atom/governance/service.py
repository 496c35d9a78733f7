"""The one door: every effect of an agent is authorised here, and audited in the transaction of its step."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent
from atom.agents.service import AgentService
from atom.governance import store
from atom.governance.decide import Decision, Reason, Spoken, decide
from atom.governance.evidence.kinds import is_violation
from atom.governance.evidence.service import EvidenceService
from atom.governance.eyes import enough, still_assigned, stricter, withheld
from atom.governance.halt import halted_error
from atom.governance.knowledge import Knowledge, Situation, capped, standing
from atom.governance.models import Action, Eyes, Verdict
from atom.governance.policies.judging import PolicyJudge
from atom.governance.ports import AskListener
from atom.governance.tables import Approval, ApprovalStatus
from atom.governance.wish import Speaker, Wish
from atom.kit.text import canonical_json, clean, shorten

__all__ = ["GovernanceService", "Wish", "capped", "digest", "standing"]
APPROVAL_SECONDS = 24 * 3600.0
MAX_NAME = 200
MAX_DETAIL = 2000


@dataclass(frozen=True, slots=True)
class Asker:
    """The agent as it is now, and how things stood when it came."""

    agent: Agent
    door: store.Door


@dataclass(frozen=True, slots=True)
class GovernanceService:
    """`actions` are the registered ones by exact name. `speakers` know rules beside the table and the policies.

    `listeners` hear of every question; `approval_seconds` is how long people have for one.
    """

    agents: AgentService
    actions: Mapping[str, Action]
    speakers: tuple[Speaker, ...] = ()
    knowledge: Knowledge = field(default_factory=Knowledge)
    policies: PolicyJudge = field(default_factory=PolicyJudge)
    listeners: tuple[AskListener, ...] = ()
    approval_seconds: float = APPROVAL_SECONDS

    @property
    def evidence(self) -> EvidenceService:
        return EvidenceService(self.agents, self.actions)

    async def authorize(self, session: AsyncSession, wish: Wish, *, step_key: str) -> Decision:
        """Decide with the agent as it is now, and audit, in the caller's transaction. A failure here is a refusal.
        Raises HaltedError while everything is halted.

        An approval turns `ask` into `allow` once, and only for the very call it was given for. What a person said to
        this call holds also where nobody would be asked any more: a no stays one, and an edit is what is made.
        """
        door = await store.door(session, (wish.agent_id, *wish.callers), (wish.run_id, step_key))
        if door.halted is not None:
            raise halted_error()
        situation, decision = await self._decided(session, door, wish)
        agent, able, action = situation.known.agent, situation.known.able, self.actions.get(wish.action)
        rules = decision.rules
        if decision.verdict is Verdict.ASK or (decision.verdict is Verdict.ALLOW and door.answered):
            decision = await self._answered(session, wish, decision, Asker(agent, door), step_key)
        spoke = [one.rule for one in decision.rules or rules]
        used = wish.arguments if decision.arguments is None else decision.arguments
        wished = {} if used is wish.arguments else {"edited_from": digest(agent.version, wish.action, wish.arguments)}
        await store.audit(
            session,
            {
                "actor": f"agent:{agent.name}",
                "action": clean(shorten(wish.action, MAX_NAME)),  # a model may make up anything
                "decision": decision.verdict.value,
                "reason": decision.reason.value,
                "agent_id": agent.id,
                "run_id": wish.run_id,
                "data": {
                    "agent_version": agent.version,
                    "trigger": wish.trigger.value,
                    "maturity": (able.maturity if action is None else able.at(action)).value,
                    "digest": digest(agent.version, wish.action, used),
                    **wished,
                    **({"rules": spoke} if spoke else {}),
                },
            },
        )
        if is_violation(decision):
            await self._violated(session, wish, action, rules)  # those about its own call: an edit is not its doing
        return decision

    async def _violated(
        self, session: AsyncSession, wish: Wish, action: Action | None, rules: Sequence[Spoken]
    ) -> None:
        """It falls for what it attempted by its own standing, and not for what those it works for have not earned."""
        agent = await self.agents.get(session, str(wish.agent_id))
        own = decide(standing(agent), action, wish.trigger, rules)
        if is_violation(own):
            same = digest(0, wish.action, wish.arguments)  # whatever version of the agent attempts it
            await self.evidence.violated(session, agent, wish, own, digest=same)

    async def explain(self, session: AsyncSession, wish: Wish) -> tuple[Situation, Decision, str | None]:
        """What it would come to now, without an effect and without a record; and why everything is halted, if it is."""
        door = await store.door(session, (wish.agent_id, *wish.callers))
        return *await self._decided(session, door, wish), door.halted

    async def _decided(self, session: AsyncSession, door: store.Door, wish: Wish) -> tuple[Situation, Decision]:
        action = self.actions.get(wish.action)
        situation = await self.knowledge.situation(session, door, action, wish.trigger)
        known, found = situation.known, situation.verdicts
        if action is None:
            return situation, decide(known.able, None, wish.trigger)
        spoken = [*found.spoken]
        if found.looks_at_call:
            spoken += await self.policies.judge(session, found.looks_at_call, wish)
        for by in self.speakers:
            spoken += await by.speak(session, known.agent, action, wish)
        if found.decision is not None and len(spoken) == len(found.spoken):
            return situation, found.decision
        return situation, decide(known.able, action, wish.trigger, spoken)

    async def refuse_halted(self, session: AsyncSession) -> None:
        """Raises HaltedError while everything is halted."""
        if await self.halted(session):
            raise halted_error()

    async def halted(self, session: AsyncSession) -> bool:
        return await store.halt(session) is not None

    async def _answered(
        self, session: AsyncSession, wish: Wish, asked: Decision, asker: Asker, step_key: str
    ) -> Decision:
        """What a person has said to this question, if it was asked before."""
        approval = await store.latest_approval(session, wish.run_id, step_key)
        if approval is None:
            return asked
        if approval.status == ApprovalStatus.REJECTED:
            return Decision(Verdict.DENY, Reason.REJECTED, approval.note)
        if approval.status == ApprovalStatus.EXPIRED and asked.verdict is Verdict.ASK:
            return Decision(Verdict.DENY, Reason.APPROVAL_EXPIRED)
        if approval.status == ApprovalStatus.APPROVED:
            return await self._approved(session, wish, asked, asker, approval)
        return asked

    async def _approved(
        self, session: AsyncSession, wish: Wish, asked: Decision, asker: Asker, approval: Approval
    ) -> Decision:
        """A yes counts for what was asked, or for what a person made of it: that is judged anew, as the call it is."""
        wished = digest(asker.agent.version, wish.action, wish.arguments)
        edited = approval.edited_from is not None and wished == approval.edited_from["digest"]
        meant = replace(wish, arguments=approval.arguments) if edited else wish
        if approval.digest != digest(asker.agent.version, wish.action, meant.arguments):
            await store.withdraw(session, approval.id)  # the agent or the call has changed: ask anew
            if asked.verdict is Verdict.ALLOW and approval.edited_from is not None:
                return Decision(Verdict.ASK, Reason(approval.reason))
            return asked
        if edited:
            _, judged = await self._decided(session, asker.door, meant)
            if judged.verdict is Verdict.DENY:
                await store.withdraw(session, approval.id)
                return replace(judged, arguments=approval.arguments)
            asked = replace(judged, verdict=Verdict.ASK, eyes=stricter(judged.eyes, asked.eyes))
        eyes = stricter(Eyes(approval.eyes), asked.eyes)
        requester = approval.requested_by or wish.requester  # the release before did not note it
        if not enough(eyes, requester, approval.said_yes):
            held = withheld(eyes, requester, approval.said_yes)
            assignee = still_assigned(approval.assignee, held)
            values = {"eyes": eyes.value, "withheld": held, "assignee": assignee, "requested_by": requester}
            await store.reopen(session, approval.id, seconds=self._seconds(asked), values=values)
            await self._tell(session, approval.id)
            return asked
        if await store.use(session, approval.id):
            arguments = approval.arguments if edited else None
            return Decision(Verdict.ALLOW, Reason.APPROVED, rules=asked.rules, arguments=arguments)
        return Decision(Verdict.DENY, Reason.APPROVAL_EXPIRED)

    async def request_approval(self, session: AsyncSession, wish: Wish, decision: Decision, *, step_key: str) -> UUID:
        """A question to a person, bound to agent version, action and arguments. Returns its id.

        A question that is open already is not asked twice.
        """
        assert decision.verdict is Verdict.ASK
        known = await store.latest_approval(session, wish.run_id, step_key)
        if known is not None and known.status == ApprovalStatus.PENDING:
            return known.id
        id_ = await self._ask(session, wish, decision, step_key=step_key)
        await self._tell(session, id_)
        return id_

    async def grant_once(self, session: AsyncSession, by: str, wish: Wish, *, step_key: str, note: str | None) -> None:
        """A person wants just this call to be made once: an approval that is decided from the beginning."""
        await store.cancel_approvals(session, wish.run_id)
        asked = Decision(Verdict.ASK, Reason.UNKNOWN_OUTCOME)
        id_ = await self._ask(session, wish, asked, step_key=step_key)
        await store.say_yes(session, id_, by=by, note=note, alone=True, values={})
        await store.settle(session, id_, ApprovalStatus.APPROVED, by=by, note=note)

    async def audit_review(
        self, session: AsyncSession, by: str, wish: Wish, *, decision: str, data: dict[str, Any]
    ) -> None:
        """A person has said what to do about a call of unknown outcome."""
        agent = await self.agents.get(session, str(wish.agent_id))
        await store.audit(
            session,
            {
                "actor": by,
                "action": clean(shorten(wish.action, MAX_NAME)),
                "decision": decision,
                "reason": Reason.UNKNOWN_OUTCOME.value,
                "agent_id": agent.id,
                "run_id": wish.run_id,
                "data": {**data, "digest": digest(agent.version, wish.action, wish.arguments)},
            },
        )

    async def _ask(self, session: AsyncSession, wish: Wish, asked: Decision, *, step_key: str) -> UUID:
        agent = await self.agents.get(session, str(wish.agent_id))
        values = {
            "execution_id": wish.run_id,
            "step_key": step_key,
            "agent_id": agent.id,
            "agent_version": agent.version,
            "action": wish.action,
            "arguments": dict(wish.arguments),
            "digest": digest(agent.version, wish.action, wish.arguments),
            "reason": asked.reason.value,
            "detail": clean(shorten(asked.text, MAX_DETAIL)),
            "eyes": asked.eyes.value,
            "requested_by": wish.requester,
            "withheld": withheld(asked.eyes, wish.requester, ()),
        }
        return await store.add_approval(session, values, seconds=self._seconds(asked))

    async def _tell(self, session: AsyncSession, id_: UUID) -> None:
        found = await store.approval(session, id_)
        assert found is not None
        for listener in self.listeners:
            await listener.requested(session, *found)

    def _seconds(self, asked: Decision) -> float:
        """A rule may give people less time than the deployment does, never more."""
        return self.approval_seconds if asked.seconds is None else min(asked.seconds, self.approval_seconds)

    async def withdraw_approvals(self, session: AsyncSession, run_id: UUID) -> None:
        await store.cancel_approvals(session, run_id)


def digest(agent_version: int, action: str, arguments: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical form, in hex: one spelling for one wish."""
    text = canonical_json({"agent_version": agent_version, "action": action, "arguments": dict(arguments)})
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
