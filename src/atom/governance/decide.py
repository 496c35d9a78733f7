"""The rule: what an agent may do alone, what it must ask for, what it may not. Pure; one row of policy is one test row.

A risk up to the agent's rank is allowed, one above asks, more is denied. Critical or irreversible asks even an
autonomous agent, unless a grant names the action. Unknown is denied. Rules beside it (policies, taint) speak too: they
can make the answer stricter and never the other way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from atom.governance.models import Action, EffectClass, Eyes, Maturity, Risk, Verdict


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
}


@dataclass(frozen=True, slots=True)
class Standing:
    """What governance knows of an agent. `tools`: actions it was given; `grants`: those it may do past the floor."""

    maturity: Maturity
    active: bool
    tools: frozenset[str]
    grants: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Spoken:
    """A rule beside the table that fits this call. `verdict` and `risk`: at least these; `detail` is for people."""

    rule: str
    reason: Reason
    verdict: Verdict = Verdict.ALLOW
    risk: Risk | None = None
    eyes: Eyes = Eyes.ANY
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """`note` is what the person who decided wrote for the agent. `rules`: all that spoke; `eyes`: who approves."""

    verdict: Verdict
    reason: Reason
    note: str | None = None
    rules: tuple[Spoken, ...] = field(default=(), compare=False)
    eyes: Eyes = Eyes.ANY

    @property
    def text(self) -> str:
        spoke = [one for one in self.rules if one.reason is self.reason or one.verdict is not Verdict.ALLOW]
        named = [f"{one.rule}: {one.detail}".rstrip(": ") for one in spoke]
        said = EXPLAIN[self.reason] + (f" ({'; '.join(named)})" if named else "")
        return said + (f" They wrote: {self.note}" if self.note else "")


def decide(agent: Standing, action: Action | None, trigger: Trigger, spoken: Sequence[Spoken] = ()) -> Decision:
    """`action` is None when no registered action has exactly the wanted name. `spoken`: the rules that fit the call."""
    if not spoken:
        return _table(agent, action, trigger)
    risks = [one.risk for one in spoken if one.risk is not None]
    raised = replace(action, risk=max(action.risk, *risks)) if action is not None and risks else action
    decided = _table(agent, raised, trigger)
    strictest = max(spoken, key=lambda one: one.verdict.strictness)
    if strictest.verdict.strictness > decided.verdict.strictness:
        decided = Decision(strictest.verdict, strictest.reason)
    eyes = max((one.eyes for one in spoken), key=lambda one: one.strictness)
    return replace(decided, rules=tuple(spoken), eyes=eyes)


def _table(agent: Standing, action: Action | None, trigger: Trigger) -> Decision:
    if not agent.active:
        return Decision(Verdict.DENY, Reason.AGENT_NOT_ACTIVE)
    if action is None:
        return Decision(Verdict.DENY, Reason.UNKNOWN_ACTION)
    if action.name not in agent.tools:
        return Decision(Verdict.DENY, Reason.NOT_GRANTED)
    automated = _automated(agent.maturity, trigger)
    if automated is Verdict.DENY:
        return Decision(Verdict.DENY, Reason.AUTOMATED_TRIGGER)
    if action.risk > agent.maturity.rank + 1:
        return Decision(Verdict.DENY, Reason.FAR_ABOVE_MATURITY)
    if action.risk > agent.maturity.rank:
        return Decision(Verdict.ASK, Reason.ABOVE_MATURITY)
    if action.risk >= Risk.CRITICAL or action.effect is EffectClass.IRREVERSIBLE:
        return _past_the_floor(agent, action)
    if automated is Verdict.ASK and not action.effect.repeatable:
        return Decision(Verdict.ASK, Reason.AUTOMATED_TRIGGER)
    return Decision(Verdict.ALLOW, Reason.WITHIN_MATURITY)


def _past_the_floor(agent: Standing, action: Action) -> Decision:
    if agent.maturity is Maturity.AUTONOMOUS and action.name in agent.grants:
        return Decision(Verdict.ALLOW, Reason.NAMED_GRANT)
    return Decision(Verdict.ASK, Reason.CRITICAL_OR_IRREVERSIBLE)


def _automated(maturity: Maturity, trigger: Trigger) -> Verdict:
    """A run that no person started: a student does nothing in it, an intern no effect without a person."""
    if trigger is Trigger.MANUAL or maturity in {Maturity.SUPERVISED, Maturity.AUTONOMOUS}:
        return Verdict.ALLOW
    return Verdict.DENY if maturity is Maturity.STUDENT else Verdict.ASK
