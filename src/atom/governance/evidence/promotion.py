"""What people do about a maturity: look at the evidence, promote, demote."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.errors import AgentRetiredError
from atom.agents.models import Agent, AgentStatus
from atom.agents.service import AgentService
from atom.governance.evidence import store
from atom.governance.evidence.changes import Change, change_maturity, class_maturity
from atom.governance.evidence.errors import (
    ClassFollowsError,
    LadderEndError,
    PromotionRefusedError,
    ReasonMissingError,
)
from atom.governance.evidence.kinds import How, Kind
from atom.governance.evidence.ladder import Criterion, Readiness, Tally, readiness
from atom.governance.evidence.tables import Evidence, MaturityChange
from atom.governance.models import ActionClass, Maturity
from atom.identity.models import Principal
from atom.kit.text import clean, shorten

MAX_REASON = 500


@dataclass(frozen=True, slots=True)
class Report:
    """What a person looks at before they promote. `since`: the change of maturity after which evidence counts."""

    agent: Agent
    action_class: ActionClass | None
    readiness: Readiness
    tally: Tally
    since: MaturityChange | None
    classes: tuple[tuple[ActionClass, Maturity], ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A promotion: of one class of actions, or of the agent. `override`: although the evidence does not reach."""

    reason: str
    action_class: ActionClass | None = None
    override: bool = False


@dataclass(frozen=True, slots=True)
class MaturityService:
    """Promotion is a person's act, and only with evidence, or by an override that is recorded as one."""

    agents: AgentService

    async def report(
        self, session: AsyncSession, ref: str, action_class: ActionClass | None = None, *, lock: bool = False
    ) -> Report:
        agent = await self.agents.get(session, ref, lock=lock)
        name = action_class and action_class.value
        level = Maturity(agent.maturity) if action_class is None else class_maturity(agent, action_class)
        since = await store.last_change(session, agent.id, name)
        tally = await store.tally(session, store.Scope(agent.id, name, since.at if since else None))
        classes = tuple((one, class_maturity(agent, one)) for one in ActionClass)
        return Report(agent, action_class, readiness(level, tally), tally, since, classes)

    async def promote(self, session: AsyncSession, by: Principal, ref: str, wanted: Wanted) -> Agent:
        """One rung up. Raises PromotionRefusedError, LadderEndError, ClassFollowsError, ReasonMissingError."""
        reason = _reason(wanted.reason)
        report = await self.report(session, ref, wanted.action_class, lock=True)
        agent, found = report.agent, report.readiness
        if agent.status == AgentStatus.RETIRED:
            raise AgentRetiredError(f"Agent {agent.name!r} is retired.", hint="Create a new one.")
        if wanted.action_class is not None:
            _check_class(agent, wanted.action_class)
        if found.target is None:
            raise LadderEndError(f"Agent {agent.name!r} is {found.maturity.value}: there is nothing above.")
        if not found.ready and not wanted.override:
            raise PromotionRefusedError(
                f"Agent {agent.name!r} is not ready to be {found.target.value}: {_named(found.unmet)}.",
                hint="`atom agents readiness` shows the evidence; --override promotes without it, and is recorded.",
                unmet=",".join(one.name.value for one in found.unmet),
            )
        how = How.PROMOTED if found.ready else How.OVERRIDDEN
        data = {"evidence": _snapshot(report.tally), "unmet": [one.name.value for one in found.unmet]}
        change = Change(found.maturity, found.target, how, by.actor, reason, wanted.action_class, data=data)
        return await change_maturity(session, self.agents, agent, change)

    async def demote(
        self, session: AsyncSession, by: Principal, ref: str, reason: str, action_class: ActionClass | None = None
    ) -> Agent:
        """One rung down, or for one class of actions. Raises LadderEndError, ReasonMissingError."""
        said = _reason(reason)
        agent = await self.agents.get(session, ref, lock=True)
        level = Maturity(agent.maturity) if action_class is None else class_maturity(agent, action_class)
        if level.below is None:
            raise LadderEndError(f"Agent {agent.name!r} is a student{_in(action_class)}: there is nothing below.")
        change = Change(level, level.below, How.LOWERED, by.actor, said, action_class)
        return await change_maturity(session, self.agents, agent, change)

    async def evidence(
        self, session: AsyncSession, ref: str, *, kind: Kind | None, before: UUID | None, limit: int
    ) -> Sequence[Evidence]:
        agent = await self.agents.get(session, ref)
        return await store.page(session, agent.id, kind=kind and kind.value, before=before, limit=limit)


def _check_class(agent: Agent, action_class: ActionClass) -> None:
    if action_class.value not in agent.class_maturity:
        raise ClassFollowsError(
            f"Agent {agent.name!r} has no maturity of its own{_in(action_class)}.",
            hint="It is as mature there as it is everywhere: promote the agent.",
        )
    if class_maturity(agent, action_class) is Maturity(agent.maturity):
        raise LadderEndError(
            f"Agent {agent.name!r} is {agent.maturity}{_in(action_class)}: a class is never above its agent.",
            hint="Promote the agent first.",
        )


def _reason(text: str) -> str:
    said = clean(shorten(text.strip(), MAX_REASON))
    if not said:
        raise ReasonMissingError("reason: it is empty.", hint="Say why: it stays with the change.", field="reason")
    return said


def _in(action_class: ActionClass | None) -> str:
    return f" in {action_class.value}" if action_class else ""


def _named(unmet: Sequence[Criterion]) -> str:
    said = []
    for one in unmet:
        value = "none" if one.value is None else f"{one.value:.4g}"
        said.append(f"{one.name.value} {value}, {'at least' if one.at_least else 'at most'} {one.needed:g} needed")
    return "; ".join(said)


def _snapshot(tally: Tally) -> dict[str, object]:
    return {key: value for key, value in asdict(tally).items() if key != "newest"}
