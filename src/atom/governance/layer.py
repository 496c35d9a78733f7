"""Governance put together: the one door, what it knows, and what changes that."""

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from atom.agents.service import AgentService
from atom.events.service import Outbox
from atom.governance.grants.service import GrantService
from atom.governance.knowledge import Hearing, Knowledge
from atom.governance.models import Action
from atom.governance.policies.judging import LedgerCosts, PolicyJudge
from atom.governance.policies.service import PolicyService
from atom.governance.registry import ActionRegistry
from atom.governance.service import GovernanceService
from atom.governance.warming import WarmingService
from atom.governance.wish import Speaker
from atom.infra.db import Sessions
from atom.kit.clock import Clock
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


@dataclass(frozen=True, slots=True)
class GovernanceBase:
    """What it stands on."""

    sessions: Sessions
    outbox: Outbox
    clock: Clock
    registry: CollectorRegistry
    agents: AgentService
    ledger: LedgerService


def build_governance(
    base: GovernanceBase,
    settings: GovernanceSettings,
    actions: Mapping[str, Action],
    speakers: tuple[Speaker, ...] = (),
) -> GovernanceLayer:
    """`actions` must have the names they are registered by. `speakers` know rules beside the table and the policies."""
    registered = ActionRegistry(actions.values())
    knowledge = Knowledge(base.clock, settings.cache_entries, settings.cache_seconds)
    knowledge.measured_by(base.registry)
    judge = PolicyJudge(base.clock, LedgerCosts(base.ledger))
    return GovernanceLayer(
        actions=registered,
        service=GovernanceService(base.agents, registered, speakers, knowledge, judge),
        policies=PolicyService(base.agents, registered, base.outbox),
        grants=GrantService(base.agents, registered, base.outbox),
        warming=WarmingService(knowledge, registered),
        hearing=Hearing(knowledge, base.sessions, registered),
    )
