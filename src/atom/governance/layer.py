"""Governance put together: the one door, what it knows, and what changes that."""

from collections.abc import Iterable
from dataclasses import dataclass

from atom.agents.service import AgentService
from atom.governance.grants.service import GrantService
from atom.governance.knowledge import Hearing, Knowledge
from atom.governance.models import Action
from atom.governance.policies.judging import LedgerCosts, PolicyJudge
from atom.governance.policies.service import PolicyService
from atom.governance.registry import ActionRegistry
from atom.governance.service import GovernanceService
from atom.governance.warming import WarmingService
from atom.governance.wish import Speaker
from atom.llm.layer import Base
from atom.llm.ledger.service import LedgerService
from atom.settings import GovernanceSettings


@dataclass(frozen=True, slots=True)
class GovernanceLayer:
    actions: ActionRegistry
    service: GovernanceService
    policies: PolicyService
    grants: GrantService
    warming: WarmingService
    hearing: Hearing


def build_governance(
    base: Base,
    settings: GovernanceSettings,
    actions: Iterable[Action],
    speakers: tuple[Speaker, ...] = (),
    *,
    agents: AgentService,
    ledger: LedgerService,
) -> GovernanceLayer:
    """`speakers` know rules beside the table and the policies. Raises InternalError for a wrongly declared action."""
    registered = ActionRegistry(actions)
    knowledge = Knowledge(base.clock, settings.cache_entries, settings.cache_seconds)
    knowledge.measured_by(base.registry)
    judge = PolicyJudge(base.clock, LedgerCosts(ledger))
    return GovernanceLayer(
        actions=registered,
        service=GovernanceService(agents, registered, speakers, knowledge, judge),
        policies=PolicyService(agents, registered, base.outbox),
        grants=GrantService(agents, registered, base.outbox),
        warming=WarmingService(knowledge, registered),
        hearing=Hearing(knowledge, base.sessions, registered),
    )
