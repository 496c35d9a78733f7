"""Triggers put together: everything that other layers use of them, made once per process."""

from collections.abc import Sequence
from dataclasses import dataclass

from atom.agents.service import AgentService
from atom.durable.sweep import Chore
from atom.events.service import EventReader, Outbox
from atom.infra.db import Sessions
from atom.kit.clock import Clock
from atom.llm.vault.service import Vault
from atom.runs.service import RunService
from atom.training.service import TrainingService
from atom.triggers.firing import Firings
from atom.triggers.jobs import TriggerSweep
from atom.triggers.presence import OperatorWatch
from atom.triggers.proposals import ProposalService
from atom.triggers.rotation import VaultSecrets
from atom.triggers.service import TriggerService
from atom.triggers.webhooks import WebhookService


@dataclass(frozen=True, slots=True)
class TriggerLayer:
    """`chores` are for the sweep."""

    triggers: TriggerService
    proposals: ProposalService
    webhooks: WebhookService
    watch: OperatorWatch
    secrets: VaultSecrets
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
    training: TrainingService
    vault: Vault


def build_triggers(base: Base) -> TriggerLayer:
    proposals = ProposalService(base.runs, base.outbox)
    watch = OperatorWatch(base.sessions)
    firings = Firings(
        runs=base.runs,
        agents=base.agents,
        proposals=proposals,
        training=base.training,
        presence=watch,
        outbox=base.outbox,
    )
    secrets = VaultSecrets(base.vault)
    triggers = TriggerService(base.agents, firings, secrets, base.outbox, base.reader)
    sweep = TriggerSweep(firings, base.reader)
    chores = (sweep.fire_due, sweep.hear, sweep.settle)
    return TriggerLayer(triggers, proposals, WebhookService(firings, secrets, base.clock), watch, secrets, chores)
