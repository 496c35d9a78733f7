"""The rule: what an agent may do alone, what it must ask for, what it may not. Pure; one row of policy is one test row.

A risk up to the agent's rank is allowed, one above asks, more is denied. Critical or irreversible asks even an
autonomous agent, unless a grant names the action. Unknown is denied. Rules beside it (policies, taint) speak too: they
can make the answer stricter and never the other way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from typing import Any

from atom.governance.models import Action, ActionClass, EffectClass, Eyes, Maturity, Risk, Verdict


class Trigger(StrEnum):
    """What started the run."""

    MANUAL = "manual"
    SCHEDULE = "schedule"
    WEBHOOK = "webhook"
    EVENT = "event"
    AGENT = "agent"


class Reason(StrEnum):
    """Stable codes: audit rows, events and documentation use them."""

    WITHIN_MATURITY = "within_maturity"
    NAMED_GRANT = "named_grant"
    ABOVE_MATURITY = "above_maturity"
    FAR_ABOVE_MATURITY = "far_above_maturity"
    CRITICAL_OR_IRREVERSIBLE = "critical_or_irreversible"
    AUTOMATED_TRIGGER = "automated_trigger"
    UNKNOWN_ACTION = "unknown_action"
    NOT_GRANTED = "not_granted"
    AGENT_NOT_ACTIVE = "agent_not_active"
    APPROVED = "approved"
    REJECTED = "rejected"
    APPROVAL_EXPIRED = "approval_expired"
    UNKNOWN_OUTCOME = "unknown_outcome"
    POLICY = "policy"
    TAINTED = "tainted"
    SKILL = "skill"


EXPLAIN = {
    Reason.WITHIN_MATURITY: "The agent's maturity covers this risk.",
    Reason.NAMED_GRANT: "A grant names this action for this autonomous agent.",
    Reason.ABOVE_MATURITY: "The risk is one above the agent's maturity: a person decides.",
    Reason.FAR_ABOVE_MATURITY: "The risk is more than one above the agent's maturity.",
    Reason.CRITICAL_OR_IRREVERSIBLE: "Critical or irreversible: a person decides.",
    Reason.AUTOMATED_TRIGGER: "No person started this run, and the agent is not mature enough to act on its own.",
    Reason.UNKNOWN_ACTION: "No action has exactly this name.",
    Reason.NOT_GRANTED: "The agent was not given this tool.",
    Reason.AGENT_NOT_ACTIVE: "The agent is paused or retired.",
    Reason.APPROVED: "A person approved exactly this call.",
    Reason.REJECTED: "A person rejected this call.",
    Reason.APPROVAL_EXPIRED: "Nobody decided in time.",
    Reason.UNKNOWN_OUTCOME: "A worker died in the middle of this call: nobody knows whether it took effect.",
    Reason.POLICY: "A policy of this deployment says so.",
    Reason.TAINTED: "The run has read content that nobody vouches for, or a secret: a person decides.",
    Reason.SKILL: "The skill cannot be used like this.",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """What governance knows of an agent. `tools`: actions it was given; `grants`: those it may do past the floor.

    `ceilings`: classes of actions in which it has earned less than its maturity.
    """

    maturity: Maturity
    active: bool
    tools: frozenset[str]
    grants: frozenset[str] = frozenset()
    ceilings: tuple[tuple[ActionClass, Maturity], ...] = ()

    def at(self, action: Action) -> Maturity:
        """Its maturity for this action: that of the action's class, and never above its own."""
        lowest, class_ = self.maturity, action.action_class
        for of, ceiling in self.ceilings:
            if of is class_ and ceiling.rank < lowest.rank:
                lowest = ceiling
        return lowest


@dataclass(frozen=True, slots=True)
class Spoken:
    """A rule beside the table that fits this call. `verdict` and `risk`: at least these; `detail` is for people.

    `seconds`: how long people have to decide, at most.
    """

    rule: str
    reason: Reason
    verdict: Verdict = Verdict.ALLOW
    risk: Risk | None = None
    eyes: Eyes = Eyes.ANY
    detail: str = ""
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """`note` is what the person who decided wrote for the agent. `rules`: all that spoke; `eyes`: who approves.

    `seconds`: how long they have, at most. `arguments`: what a person has changed the call's arguments to:
    this is about those.
    """

    verdict: Verdict
    reason: Reason
    note: str | None = None
    rules: tuple[Spoken, ...] = field(default=(), compare=False)
    eyes: Eyes = Eyes.ANY
    seconds: float | None = None
    arguments: Mapping[str, Any] | None = field(default=None, compare=False)

    @property
    def text(self) -> str:
        spoke = [
            one
            for one in self.rules
            if one.reason is self.reason or one.verdict is not Verdict.ALLOW or one.risk is not None
        ]
        named = [f"{one.rule}: {one.detail}".rstrip(": ") for one in spoke]
        said = EXPLAIN[self.reason] + (f" ({'; '.join(named)})" if named else "")
        return said + (f" They wrote: {self.note}" if self.note else "")


def decide(agent: Standing, action: Action | None, trigger: Trigger, spoken: Sequence[Spoken] = ()) -> Decision:
    """`action` is None when no registered action has exactly the wanted name. `spoken`: the rules that fit the call."""
    if not spoken:
        return _looked_up(agent, action, trigger, None)
    risks = [one.risk for one in spoken if one.risk is not None]
    decided = _looked_up(agent, action, trigger, max(risks) if risks else None)
    strictest = max(spoken, key=lambda one: one.verdict.strictness)
    if strictest.verdict.strictness > decided.verdict.strictness:
        decided = _INTERNED[strictest.verdict, strictest.reason]
    eyes = max((one.eyes for one in spoken), key=lambda one: one.strictness)
    seconds = min((one.seconds for one in spoken if one.seconds is not None), default=None)
    return Decision(decided.verdict, decided.reason, rules=tuple(spoken), eyes=eyes, seconds=seconds)


def _looked_up(agent: Standing, action: Action | None, trigger: Trigger, raised: Risk | None) -> Decision:
    """The guards, then one look into the table. `raised`: judged as if its risk were at least this."""
    if not agent.active:
        return _NOT_ACTIVE
    if action is None:
        return _UNKNOWN
    if action.name not in agent.tools:
        return _NOT_GRANTED
    risk = action.risk if raised is None or raised < action.risk else raised
    maturity = agent.at(action) if agent.ceilings else agent.maturity  # of every effect: most have none
    decided = _TABLE[maturity, action.effect, risk, trigger]
    if decided is _FLOOR and maturity is Maturity.AUTONOMOUS and action.name in agent.grants:
        return _NAMED_GRANT
    return decided


def _rule(maturity: Maturity, effect: EffectClass, risk: Risk, trigger: Trigger) -> Decision:
    """What an active agent may do with an action that it was given. Only ever used to fill the table."""
    automated = _automated(maturity, trigger)
    if automated is Verdict.DENY:
        return _INTERNED[Verdict.DENY, Reason.AUTOMATED_TRIGGER]
    if risk > maturity.rank + 1:
        return _INTERNED[Verdict.DENY, Reason.FAR_ABOVE_MATURITY]
    if risk > maturity.rank:
        return _INTERNED[Verdict.ASK, Reason.ABOVE_MATURITY]
    if risk >= Risk.CRITICAL or effect is EffectClass.IRREVERSIBLE:
        return _FLOOR
    if automated is Verdict.ASK and not effect.repeatable:
        return _INTERNED[Verdict.ASK, Reason.AUTOMATED_TRIGGER]
    return _INTERNED[Verdict.ALLOW, Reason.WITHIN_MATURITY]


def _automated(maturity: Maturity, trigger: Trigger) -> Verdict:
    """A run that no person started: a student does nothing in it, an intern no effect without a person."""
    if trigger is Trigger.MANUAL or maturity in {Maturity.SUPERVISED, Maturity.AUTONOMOUS}:
        return Verdict.ALLOW
    return Verdict.DENY if maturity is Maturity.STUDENT else Verdict.ASK


# Every decision without rules is one of these few objects: nothing is made while a call waits (0.3 us instead of 2.6).
_INTERNED = {(verdict, reason): Decision(verdict, reason) for verdict, reason in product(Verdict, Reason)}
_NOT_ACTIVE = _INTERNED[Verdict.DENY, Reason.AGENT_NOT_ACTIVE]
_UNKNOWN = _INTERNED[Verdict.DENY, Reason.UNKNOWN_ACTION]
_NOT_GRANTED = _INTERNED[Verdict.DENY, Reason.NOT_GRANTED]
_NAMED_GRANT = _INTERNED[Verdict.ALLOW, Reason.NAMED_GRANT]
_FLOOR = _INTERNED[Verdict.ASK, Reason.CRITICAL_OR_IRREVERSIBLE]
_TABLE = {place: _rule(*place) for place in product(Maturity, EffectClass, Risk, Trigger)}
