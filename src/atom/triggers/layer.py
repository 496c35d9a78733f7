"""Triggers put together: everything that other layers use of them, made once per process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.service import AgentService
from atom.durable.sweep import Chore
from atom.events.service import EventReader, Outbox
from atom.infra.db import Sessions
from atom.kit.clock import Clock
from atom.llm.vault.envelope import Place
from atom.llm.vault.service import Vault
from atom.runs.service import RunService
from atom.triggers.firing import Firings
from atom.triggers.jobs import TriggerSweep
from atom.triggers.ports import TrainingPort
from atom.triggers.presence import OperatorWatch
from atom.triggers.proposals import ProposalService, ProposedTraining
from atom.triggers.service import TriggerService
from atom.triggers.webhooks import WebhookService

SEALED_FOR = "webhook"  # where an envelope names the provider of a key


@dataclass(frozen=True, slots=True)
class TriggerLayer:
    """`chores` are for the sweep."""

    triggers: TriggerService
    proposals: ProposalService
    webhooks: WebhookService
    watch: OperatorWatch
    secrets: "VaultSecrets"
    chores: Sequence[Chore]


@dataclass(frozen=True, slots=True)
class Base:
    """What it stands on."""

    sessions: Sessions
    outbox: Outbox
    reader: EventReader
    clock: Clock
    agents: AgentService
    runs: RunService
    vault: Vault


@dataclass(frozen=True, slots=True)
class VaultSecrets:
    """`Secrets` in the vault that keeps the provider keys."""

    vault: Vault

    async def seal(self, session: AsyncSession, trigger_id: UUID, version: int, secret: str) -> dict[str, Any]:
        return await self.vault.seal(session, Place(str(trigger_id), SEALED_FOR, version), secret)

    async def unseal(self, session: AsyncSession, trigger_id: UUID, version: int, envelope: Mapping[str, Any]) -> str:
        return await self.vault.unseal(session, Place(str(trigger_id), SEALED_FOR, version), envelope)

    async def rewrap(
        self, session: AsyncSession, trigger_id: UUID, version: int, envelope: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The same secret under the current key-encryption key."""
        return await self.vault.rewrap(session, Place(str(trigger_id), SEALED_FOR, version), envelope)


def build_triggers(base: Base, training: TrainingPort | None = None) -> TriggerLayer:
    """`training`: what makes training sessions; none: tasks to train with are kept as proposals."""
    proposals = ProposalService(base.runs, base.outbox)
    watch = OperatorWatch(base.sessions)
    firings = Firings(
        runs=base.runs,
        agents=base.agents,
        proposals=proposals,
        training=training or ProposedTraining(proposals),
        presence=watch,
        outbox=base.outbox,
    )
    secrets = VaultSecrets(base.vault)
    triggers = TriggerService(base.agents, firings, secrets, base.outbox, base.reader)
    sweep = TriggerSweep(firings, base.reader)
    chores = (sweep.fire_due, sweep.hear, sweep.settle)
    return TriggerLayer(triggers, proposals, WebhookService(firings, secrets, base.clock), watch, secrets, chores)
