"""Evidence, written in the transaction of what it is evidence of, once for each source; and what falls with it.

Nothing here raises a maturity. A violation, or a bound that fell under the floor, lowers it at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent
from atom.agents.service import AgentService
from atom.events.models import EventType
from atom.governance import store as audit_store
from atom.governance.decide import Decision
from atom.governance.evidence import store
from atom.governance.evidence.changes import Change, change_maturity, class_maturity
from atom.governance.evidence.kinds import OWN_FAULTS, How, Kind, OfRun, Stepping
from atom.governance.evidence.ladder import keeps, standing_bound
from atom.governance.evidence.tables import Evidence
from atom.governance.models import Action, ActionClass, Maturity
from atom.governance.ports import Outcome
from atom.governance.tables import Approval
from atom.governance.wish import Wish
from atom.identity.models import Principal, Role
from atom.kit.text import clean, shorten

SYSTEM = "system:evidence"
MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Piece:
    """What is to be on record. `at`: None: this moment. `replaces`: what is known of the source counts no more."""

    kind: Kind
    source: str
    agent_id: UUID
    agent_version: int
    by: str
    run_id: UUID | None = None
    approval_id: UUID | None = None
    action_class: ActionClass | None = None
    score: float | None = None
    at: datetime | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class EvidenceService:
    """An ApprovalListener. `actions` are the registered ones by exact name. Whoever calls this has locked the run, if
    there is one."""

    agents: AgentService
    actions: Mapping[str, Action]

    async def rated(self, session: AsyncSession, of: OfRun, by: Principal, score: float, note: str | None) -> bool:
        """A person's word on a run that completed: the part of a success that it was. The latest word counts.

        False: that is on record already. It counts from when the run began, so that an old run proves nothing anew.
        """
        said = {"note": note} if note else {}
        before = await store.counted(session, _source(of.run_id, Kind.RATED))
        piece = Piece(
            Kind.RATED,
            _source(of.run_id, Kind.RATED),
            of.agent_id,
            of.agent_version,
            by.actor,
            run_id=of.run_id,
            score=score,
            at=of.began_at,
            data={**said, "classes": self.classes(of.used)},
            replaces=True,
        )
        if not await self._add(session, piece):
            return False
        told = {"score": score, **said, **({"before": before.score} if before else {})}
        await self._tell_rating(session, piece, told)
        await self._judge(session, of)
        return True

    async def rating(self, session: AsyncSession, run_id: UUID) -> Evidence | None:
        return await store.counted(session, _source(run_id, Kind.RATED))

    async def ratings(self, session: AsyncSession, run_ids: Sequence[UUID]) -> dict[UUID, float]:
        return await store.scores(session, [_source(run_id, Kind.RATED) for run_id in run_ids])

    async def failed(self, session: AsyncSession, of: OfRun, code: str) -> None:
        """A run has failed. Only a failure of the agent's own making is evidence."""
        if code not in OWN_FAULTS:
            return
        piece = Piece(
            Kind.FAILURE,
            _source(of.run_id, Kind.FAILURE),
            of.agent_id,
            of.agent_version,
            SYSTEM,
            run_id=of.run_id,
            score=0.0,
            data={"code": code, "classes": self.classes(of.used)},
        )
        if await self._add(session, piece):
            await self._judge(session, of)

    async def intervened(self, session: AsyncSession, of: OfRun, by: Principal, step: Stepping) -> None:
        """A person stepped in while the agent worked. A program's key is no person."""
        if by.role is Role.AGENT:
            return
        piece = Piece(
            Kind.INTERVENTION,
            f"{_source(of.run_id, Kind.INTERVENTION)}:{step.value}",
            of.agent_id,
            of.agent_version,
            by.actor,
            run_id=of.run_id,
            data={"step": step.value, "classes": self.classes(of.used)},
        )
        await self._add(session, piece)

    async def decided(self, session: AsyncSession, approval: Approval, outcome: Outcome) -> None:
        """A question has ended, and `approval` is as it is after that. What nobody decided is evidence of nothing.

        A question that was asked once more is decided once more: then its last word counts.
        """
        if outcome is Outcome.EXPIRED:
            return
        piece = Piece(
            Kind(outcome.value),
            f"approval:{approval.id}",
            approval.agent_id,
            approval.agent_version,
            approval.decided_by or SYSTEM,
            run_id=approval.execution_id,
            approval_id=approval.id,
            action_class=self._class_of(approval.action),
            data={"action": approval.action},
            replaces=True,
        )
        await self._add(session, piece)

    async def violated(
        self, session: AsyncSession, agent: Agent, wish: Wish, decision: Decision, *, digest: str
    ) -> None:
        """The agent attempted what it may not: see `kinds.is_violation`. It falls by one rung, at once.

        The same call again in the same run (`digest`) is the same violation.
        """
        action = clean(shorten(wish.action, MAX_NAME))
        piece = Piece(
            Kind.VIOLATION,
            f"{_source(wish.run_id, Kind.VIOLATION)}:{digest}",
            agent.id,
            agent.version,
            SYSTEM,
            run_id=wish.run_id,
            action_class=self._class_of(wish.action),
            data={"action": action, "reason": decision.reason.value, "rules": [one.rule for one in decision.rules]},
        )
        locked = await self._add(session, piece)
        if locked is None:
            return
        await self.agents.outbox.emit(
            session,
            EventType.AGENT_VIOLATED,
            actor=f"agent:{locked.name}",
            agent_id=agent.id,
            run_id=wish.run_id,
            data=dict(piece.data),
        )
        why = f"Violation: {action} was denied ({decision.reason.value})."
        await self._fall(session, locked, None, wish.run_id, why)

    async def audit_training(
        self, session: AsyncSession, by: str, agent_id: UUID, run_id: UUID | None, data: Mapping[str, Any]
    ) -> None:
        """A training session has changed: `data` says which, and to what."""
        entry = {"actor": by, "action": "training", "decision": data["status"], "reason": "training"}
        await audit_store.audit(session, {**entry, "agent_id": agent_id, "run_id": run_id, "data": dict(data)})

    def classes(self, used: Sequence[str]) -> list[str]:
        """The classes of actions that these names belong to."""
        found = {self.actions[name].action_class.value for name in used if name in self.actions}
        return sorted(found)

    def _class_of(self, name: str) -> ActionClass | None:
        action = self.actions.get(name)
        return None if action is None else action.action_class

    async def _add(self, session: AsyncSession, piece: Piece) -> Agent | None:
        """The agent, locked, when this was news. Rows of one agent are added one after the other."""
        agent = await self.agents.get(session, str(piece.agent_id), lock=True)
        known = await store.counted(session, piece.source)
        if known is not None:
            before = (known.kind, known.score, known.data.get("note"))
            same = before == (piece.kind.value, piece.score, piece.data.get("note"))
            if not piece.replaces or same:
                return None
            await store.replaced(session, known.id)
        values = {
            "agent_id": piece.agent_id,
            "agent_version": piece.agent_version,
            "action_class": piece.action_class and piece.action_class.value,
            "kind": piece.kind.value,
            "source": piece.source,
            "run_id": piece.run_id,
            "approval_id": piece.approval_id,
            "score": piece.score,
            "at": piece.at,
            "by": piece.by,
            "data": dict(piece.data),
            "counts": True,
        }
        await store.add(session, values)
        return agent

    async def _tell_rating(self, session: AsyncSession, piece: Piece, told: dict[str, Any]) -> None:
        where = {"agent_id": piece.agent_id, "run_id": piece.run_id}
        entry = {"actor": piece.by, "action": "rating", "decision": "rated", "reason": f"score {piece.score:g}"}
        await audit_store.audit(session, {**entry, **where, "data": told})
        await self.agents.outbox.emit(
            session, EventType.RUN_RATED, actor=piece.by, agent_id=piece.agent_id, run_id=piece.run_id, data=told
        )

    async def _judge(self, session: AsyncSession, of: OfRun) -> None:
        """Whether the agent keeps what it has, after an outcome; if so, whether each class of actions in it does."""
        agent = await self.agents.get(session, str(of.agent_id))
        if await self._falls(session, agent, None, of.run_id):
            return
        for name in self.classes(of.used):
            agent = await self.agents.get(session, str(of.agent_id))
            await self._falls(session, agent, ActionClass(name), of.run_id)

    async def _falls(self, session: AsyncSession, agent: Agent, class_: ActionClass | None, run_id: UUID) -> bool:
        level = Maturity(agent.maturity) if class_ is None else class_maturity(agent, class_)
        if level is Maturity.STUDENT:
            return False
        name = class_ and class_.value
        since = await store.last_fall(session, agent.id, name)
        newest = await store.newest(session, store.Scope(agent.id, name, since))
        if keeps(level, newest):
            return False
        bound = standing_bound(level, newest)
        await self._fall(session, agent, class_, run_id, f"The success rate's bound fell to {bound:.2f}.")
        return True

    async def _fall(
        self, session: AsyncSession, agent: Agent, class_: ActionClass | None, run_id: UUID, reason: str
    ) -> None:
        level = Maturity(agent.maturity) if class_ is None else class_maturity(agent, class_)
        if level.below is not None:
            change = Change(level, level.below, How.DEMOTED, SYSTEM, reason, class_, run_id)
            await change_maturity(session, self.agents, agent, change)


def _source(run_id: UUID, kind: Kind) -> str:
    return f"run:{run_id}:{kind.value}"
