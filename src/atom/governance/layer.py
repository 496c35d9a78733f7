"""Governance put together: the one door, what it knows, and what changes that."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from atom.agents.service import AgentService
from atom.durable.sweep import Chore
from atom.governance.grants.service import GrantService
from atom.governance.knowledge import Hearing, Knowledge
from atom.governance.models import Action
from atom.governance.policies.judging import LedgerCosts, PolicyJudge
from atom.governance.policies.service import PolicyService
from atom.governance.ports import ApprovalListener
from atom.governance.registry import ActionRegistry
from atom.governance.service import GovernanceService
from atom.governance.warming import WarmingService
from atom.governance.webhooks.parts import Webhooks, build_webhooks
from atom.governance.wish import Speaker
from atom.llm.layer import Base
from atom.llm.ledger.service import LedgerService
from atom.llm.vault.service import Vault
from atom.settings import GovernanceSettings


@dataclass(frozen=True, slots=True)
class Under:
    """What governance uses of others: the agents, what calls cost, where secrets are kept.

    `speakers` know rules beside the table and the policies.
    """

    agents: AgentService
    ledger: LedgerService
    vault: Vault
    speakers: tuple[Speaker, ...] = ()


@dataclass(frozen=True, slots=True)
class GovernanceLayer:
    """`listeners` hear how questions to people ended; `chores` are for the sweep."""

    actions: ActionRegistry
    service: GovernanceService
    policies: PolicyService
    grants: GrantService
    warming: WarmingService
    hearing: Hearing
    webhooks: Webhooks
    listeners: tuple[ApprovalListener, ...]
    chores: Sequence[Chore]


def build_governance(
    base: Base, settings: GovernanceSettings, actions: Iterable[Action], under: Under
) -> GovernanceLayer:
    """Raises InternalError for a wrongly declared action."""
    agents, registered = under.agents, ActionRegistry(actions)
    knowledge = Knowledge(base.clock, settings.cache_entries, settings.cache_seconds)
    knowledge.measured_by(base.registry)
    judge = PolicyJudge(base.clock, LedgerCosts(under.ledger))
    webhooks = build_webhooks(settings, base.sessions, under.vault, base.clock)
    door = GovernanceService(
        agents,
        registered,
        under.speakers,
        knowledge,
        judge,
        listeners=(webhooks.service,),
        approval_seconds=settings.approval_seconds,
    )
    return GovernanceLayer(
        actions=registered,
        service=door,
        policies=PolicyService(agents, registered, base.outbox),
        grants=GrantService(agents, registered, base.outbox),
        warming=WarmingService(knowledge, registered),
        hearing=Hearing(knowledge, base.sessions, registered),
        webhooks=webhooks,
        listeners=(door.evidence, webhooks.service),
        chores=(webhooks.service.tidy,),
    )
