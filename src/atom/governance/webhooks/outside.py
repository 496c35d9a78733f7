"""The ports of webhooks on what there is: the vault keeps the secrets, the egress client carries the messages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.governance.webhooks.errors import WebhookInvalidError
from atom.infra.egress import EgressClient, EgressLimits, open_egress
from atom.infra.egress_address import parse_target
from atom.infra.egress_policy import EgressPolicy, Zone
from atom.llm.vault.envelope import Place
from atom.llm.vault.service import Vault
from atom.settings import GovernanceSettings

MAX_ANSWER = 1_000
SETTING = "ATOM_GOVERNANCE__WEBHOOK_ALLOW"


def _place(id_: UUID) -> Place:
    return Place(str(id_), "webhook", 1)


@dataclass(frozen=True, slots=True)
class VaultSealer:
    vault: Vault

    async def seal(self, session: AsyncSession, id_: UUID, secret: str) -> dict[str, Any]:
        return await self.vault.seal(session, _place(id_), secret)

    async def unseal(self, session: AsyncSession, id_: UUID, envelope: Mapping[str, Any]) -> str:
        return await self.vault.unseal(session, _place(id_), envelope)

    async def rewrap(self, session: AsyncSession, id_: UUID, envelope: Mapping[str, Any]) -> dict[str, Any]:
        return await self.vault.rewrap(session, _place(id_), envelope)


@dataclass(frozen=True, slots=True)
class EgressPost:
    egress: EgressClient

    def check(self, url: str) -> None:
        """https, or an inner host that the deployment names: a signature does not hide what is said."""
        target = parse_target(url)
        if self.egress.policy.zone(target) is Zone.PUBLIC and target.scheme != "https":
            raise WebhookInvalidError("only https goes to a public host.", hint=f"{SETTING} opens inner hosts.")

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        self.check(url)
        return await self.egress.post(url, body, headers=headers)


def egress_post(settings: GovernanceSettings) -> EgressPost:
    policy = EgressPolicy.parse(settings.webhook_allow, setting=SETTING)
    return EgressPost(open_egress(policy, EgressLimits(settings.webhook_seconds, MAX_ANSWER)))
