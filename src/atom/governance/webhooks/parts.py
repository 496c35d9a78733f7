"""Builds webhooks, once per process."""

from dataclasses import dataclass

from atom.events.service import Signal
from atom.governance.webhooks.outside import VaultSealer, egress_post
from atom.governance.webhooks.sender import WebhookSender
from atom.governance.webhooks.service import WebhookService
from atom.infra.db import Sessions
from atom.kit.clock import Clock
from atom.llm.vault.service import Vault
from atom.settings import GovernanceSettings


@dataclass(frozen=True, slots=True)
class Webhooks:
    service: WebhookService
    sender: WebhookSender


def build_webhooks(settings: GovernanceSettings, sessions: Sessions, vault: Vault, clock: Clock) -> Webhooks:
    sealer, post, written = VaultSealer(vault), egress_post(settings), Signal()
    seconds = settings.webhook_seconds
    return Webhooks(
        WebhookService(sealer, post, clock, written),
        WebhookSender(sessions, sealer, post, clock, written, seconds),
    )
