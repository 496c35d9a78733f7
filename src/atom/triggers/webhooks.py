"""Signed deliveries: checked, then fired once for each message id, however often it is delivered."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.kit.clock import Clock
from atom.triggers import store
from atom.triggers.errors import TriggerDisabledError, WebhookRefusedError
from atom.triggers.firing import Firings, Occasion
from atom.triggers.models import AgentTrigger, TriggerFiring, TriggerKind
from atom.triggers.ports import Secrets
from atom.triggers.signing import STAND_IN, accepted


@dataclass(frozen=True, slots=True)
class Delivery:
    """As it came: nothing of it is believed before its signature is checked."""

    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str:
        return self.headers.get(name, "")


@dataclass(frozen=True, slots=True)
class WebhookService:
    firings: Firings
    secrets: Secrets
    clock: Clock

    async def deliver(self, session: AsyncSession, trigger_id: UUID | None, delivery: Delivery) -> TriggerFiring:
        """What this message led to, now or when it was first delivered.

        Raises WebhookRefusedError for whoever does not know the secret, whether there is such a trigger or not, and
        TriggerDisabledError. The body says nothing about what is to be done: it is data for the trigger's own task.
        """
        trigger = await store.get(session, trigger_id) if trigger_id else None
        secret = await self._secret(session, trigger)
        genuine = accepted(
            secret,
            message_id=delivery.header("webhook-id"),
            timestamp=delivery.header("webhook-timestamp"),
            signatures=delivery.header("webhook-signature"),
            body=delivery.body,
            now=self.clock.now().timestamp(),
        )
        if not genuine or trigger is None or trigger.kind != TriggerKind.WEBHOOK:
            raise WebhookRefusedError
        key = f"webhook:{delivery.header('webhook-id')}"
        known = await store.firing_of(session, trigger.id, key)
        if known is not None:
            return known
        if not trigger.enabled:
            raise TriggerDisabledError(f"Trigger {trigger.name!r} is disabled.", hint="`atom triggers enable`.")
        data = delivery.body.decode("utf-8", "replace")
        return await self.firings.fire(session, trigger, Occasion(key, await store.now(session), data or None))

    async def _secret(self, session: AsyncSession, trigger: AgentTrigger | None) -> str:
        if trigger is None or trigger.kind != TriggerKind.WEBHOOK:
            return STAND_IN
        return await self.secrets.unseal(session, trigger.id, trigger.secret_version, trigger.envelope)
