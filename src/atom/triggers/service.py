"""Triggers: made, changed, enabled, removed, fired by hand."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.service import AgentService
from atom.events.models import EventType
from atom.events.service import EventReader, Outbox
from atom.identity.models import Principal
from atom.kit.ids import new_id, parse_id
from atom.kit.text import clean
from atom.triggers import schedule, store
from atom.triggers.definition import check
from atom.triggers.errors import TriggerExistsError, TriggerInvalidError, TriggerNotFoundError, TriggerStaleError
from atom.triggers.firing import Firings, Occasion
from atom.triggers.models import AgentTrigger, TriggerFiring, TriggerKind
from atom.triggers.ports import Secrets
from atom.triggers.signing import new_secret
from atom.triggers.task import MAX_DATA, check_template

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_KEY = 200


@dataclass(frozen=True, slots=True)
class NewTrigger:
    name: str
    agent: str
    kind: TriggerKind
    task: str
    definition: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TriggerChanges:
    """None leaves as it is. `version`: refuse if it is another by now. `new_secret`: the webhook's old one ends."""

    task: str | None = None
    definition: Mapping[str, Any] | None = None
    enabled: bool | None = None
    new_secret: bool = False
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Saved:
    """A trigger, its agent's name and, this once, the secret that was made for it."""

    trigger: AgentTrigger
    agent: str
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class TriggerService:
    agents: AgentService
    firings: Firings
    secrets: Secrets
    outbox: Outbox
    events: EventReader

    async def add(self, session: AsyncSession, by: Principal, new: NewTrigger) -> Saved:
        """Raises TriggerInvalidError, TriggerExistsError, AgentNotFoundError, VaultLockedError."""
        _check_name(new.name)
        check_template(new.task)
        agent = await self.agents.get(session, new.agent)
        definition = check(new.kind, await self._resolved(session, new.definition))
        id_ = new_id()
        values = {
            "id": id_,
            "name": new.name,
            "agent_id": agent.id,
            "kind": new.kind.value,
            "definition": definition,
            "task": clean(new.task),
            "created_by": by.actor,
            "envelope": {},
            "secret_version": 0,
            "seen_seq": await self.events.head(session),
        }
        values |= await self._first_due(session, new.kind, definition, id_)
        secret = None
        if new.kind is TriggerKind.WEBHOOK:
            secret, sealed = await self._fresh_secret(session, id_, 1)
            values |= sealed
        if not await store.add(session, values):
            raise TriggerExistsError(new.name)
        return await self._told(session, by, str(id_), "added", secret)

    async def get(self, session: AsyncSession, ref: str, *, lock: bool = False) -> Saved:
        """By id or name. Raises TriggerNotFoundError."""
        id_ = parse_id(ref)
        found = None
        if id_ is not None:
            found = await store.get(session, id_, lock=lock)
        elif NAME.fullmatch(ref):
            found = await store.by_name(session, ref, lock=lock)
        if found is None:
            raise TriggerNotFoundError(ref)
        return Saved(found, (await self.agents.get(session, str(found.agent_id))).name)

    async def page(
        self, session: AsyncSession, *, agent: str | None, before: UUID | None, limit: int
    ) -> Sequence[tuple[AgentTrigger, str]]:
        agent_id = (await self.agents.get(session, agent)).id if agent is not None else None
        return await store.page(session, agent_id=agent_id, before=before, limit=limit)

    async def history(
        self, session: AsyncSession, ref: str, *, before: UUID | None, limit: int
    ) -> Sequence[TriggerFiring]:
        trigger = (await self.get(session, ref)).trigger
        return await store.firings(session, trigger.id, before=before, limit=limit)

    async def change(self, session: AsyncSession, by: Principal, ref: str, changes: TriggerChanges) -> Saved:
        """A new version of it. Its runs are asked for by whoever changed it last.

        What a schedule missed while it was disabled is not made up for, nor what an event trigger would have heard.
        """
        trigger = (await self.get(session, ref, lock=True)).trigger
        if changes.version is not None and changes.version != trigger.version:
            raise TriggerStaleError(f"version: it is {trigger.version} by now.", hint="Look at it again.")
        values: dict[str, Any] = {}
        if changes.task is not None:
            check_template(changes.task)
            values["task"] = clean(changes.task)
        if changes.definition is not None:
            given = await self._resolved(session, changes.definition)
            values["definition"] = check(TriggerKind(trigger.kind), given)
        if changes.enabled is not None:
            values["enabled"] = changes.enabled
        values = {name: value for name, value in values.items() if getattr(trigger, name) != value}
        values |= await self._restarted(session, trigger, values)
        secret = None
        if changes.new_secret:
            secret, sealed = await self._renewed_secret(session, trigger)
            values |= sealed
        if not values:
            return await self.get(session, str(trigger.id))
        said = {"version": trigger.version + 1, "updated_at": func.now(), "created_by": by.actor}
        await store.change(session, trigger.id, values | said)
        return await self._told(session, by, str(trigger.id), "changed", secret)

    async def remove(self, session: AsyncSession, by: Principal, ref: str) -> None:
        """It fires no more; its firings stay on record, its secret does not."""
        found = await self.get(session, ref, lock=True)
        gone = {"removed_at": func.now(), "enabled": False, "envelope": {}, "kek_id": None, "next_at": None}
        await store.change(session, found.trigger.id, gone)
        await self.firings.proposals.dismiss_of(session, found.trigger.id, by=by.actor)
        await self._tell(session, by, found.trigger, "removed")

    async def fire(
        self, session: AsyncSession, by: Principal, ref: str, *, data: str | None, key: str | None
    ) -> TriggerFiring:
        """By hand: a run of the person who asks. `key` lets a cut request be repeated without a second run."""
        if key is not None and (not 0 < len(key) <= MAX_KEY or not key.isprintable()):
            raise TriggerInvalidError(f"Idempotency-Key: 1 to {MAX_KEY} printable characters.", field="Idempotency-Key")
        if data is not None and len(data) > MAX_DATA:
            raise TriggerInvalidError(f"data: {len(data)} characters; at most {MAX_DATA}.", field="data")
        trigger = (await self.get(session, ref)).trigger
        name = f"hand:{by.key_id}:{key or new_id()}"
        occasion = Occasion(name, await store.now(session), data)
        return await self.firings.fire_by_hand(session, by, trigger, occasion)

    async def _resolved(self, session: AsyncSession, definition: Mapping[str, Any]) -> Mapping[str, Any]:
        """With the id of an agent that it gives by name."""
        agent = definition.get("agent")
        if not isinstance(agent, str):
            return definition
        return {**definition, "agent": str((await self.agents.get(session, agent)).id)}

    async def _restarted(
        self, session: AsyncSession, trigger: AgentTrigger, values: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Where it goes on from, when it is enabled again or its rule is another."""
        enabled = values.get("enabled", trigger.enabled)
        if "definition" not in values and not values.get("enabled"):
            return {} if enabled else {"next_at": None, "due_at": None}
        definition = values.get("definition", trigger.definition)
        due = await self._first_due(session, TriggerKind(trigger.kind), definition, trigger.id) if enabled else {}
        return {**due, "seen_seq": await self.events.head(session)}

    async def _first_due(
        self, session: AsyncSession, kind: TriggerKind, definition: Mapping[str, Any], id_: UUID
    ) -> dict[str, datetime | None]:
        if kind is not TriggerKind.SCHEDULE:
            return {}
        now = await store.now(session)
        found = schedule.following(schedule.parse(definition), id_, due=None, now=now)
        return {"due_at": found.due if found else None, "next_at": found.at if found else None}

    async def _fresh_secret(self, session: AsyncSession, id_: UUID, version: int) -> tuple[str, dict[str, Any]]:
        secret = new_secret()
        envelope = await self.secrets.seal(session, id_, version, secret)
        return secret, {"envelope": envelope, "kek_id": envelope["kek_id"], "secret_version": version}

    async def _renewed_secret(self, session: AsyncSession, trigger: AgentTrigger) -> tuple[str, dict[str, Any]]:
        if trigger.kind != TriggerKind.WEBHOOK:
            raise TriggerInvalidError("new_secret: only a webhook has a secret.", field="new_secret")
        return await self._fresh_secret(session, trigger.id, trigger.secret_version + 1)

    async def _told(self, session: AsyncSession, by: Principal, ref: str, what: str, secret: str | None) -> Saved:
        saved = await self.get(session, ref)
        await self._tell(session, by, saved.trigger, what)
        return Saved(saved.trigger, saved.agent, secret)

    async def _tell(self, session: AsyncSession, by: Principal, trigger: AgentTrigger, what: str) -> None:
        which = {"trigger": trigger.name, "trigger_id": str(trigger.id), "kind": trigger.kind, "what": what}
        data = {**which, "version": trigger.version, "enabled": trigger.enabled, "definition": trigger.definition}
        await self.outbox.emit(session, EventType.TRIGGER_CHANGED, actor=by.actor, agent_id=trigger.agent_id, data=data)


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name) or parse_id(name):
        raise TriggerInvalidError(
            f"name: {name[:80]!r} cannot name a trigger.",
            hint="1 to 64 of letters, digits, '.', '_' and '-', beginning with a letter or digit; not a UUID.",
            field="name",
        )
