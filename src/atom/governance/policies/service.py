"""Policies applied, removed, compared. Every change is a version with who and when; a roll-back applies an old one."""

import asyncio
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.errors import AgentNotFoundError
from atom.agents.service import AgentService
from atom.errors import InvalidError
from atom.events.models import EventType
from atom.events.service import Outbox
from atom.governance import store as governance_store
from atom.governance.models import Action
from atom.governance.policies import store
from atom.governance.policies.document import parse
from atom.governance.policies.errors import PolicyNotFoundError, TooManyPoliciesError
from atom.governance.policies.models import Policy
from atom.governance.policies.schema import PolicyPart, read_policy

MAX_POLICIES = 100
MAX_WARNINGS = 20


@dataclass(frozen=True, slots=True)
class Applied:
    """`version`: the new one, or the present one when nothing changed. `warnings`: what looks like a mistake."""

    name: str
    version: int
    changed: bool
    rules: int
    warnings: tuple[str, ...]
    diff: str


@dataclass(frozen=True, slots=True)
class PolicyService:
    agents: AgentService
    actions: Mapping[str, Action]
    outbox: Outbox

    async def apply(self, session: AsyncSession, by: str, source: str, *, dry_run: bool = False) -> Applied:
        """Put a document in force. The same text again changes nothing. Raises PolicyInvalidError."""
        document = await asyncio.to_thread(parse, source)
        policy = read_policy(document)
        warnings = await self._warnings(session, policy)
        await store.lock(session)
        before = await store.latest(session, policy.policy)
        old = (before.source if before else None) or ""
        changed = old != source
        version = (before.version if before else 0) + int(changed)
        if changed and not dry_run:
            await self._room(session, policy.policy)
            text = (source, document.value)
            await store.add(session, name=policy.policy, version=version, text=text, by=by)
            await self._record(session, by, policy.policy, version, EventType.POLICY_APPLIED)
        compared = diff(old, source, policy.policy, version - int(changed), version)
        return Applied(policy.policy, version, changed, len(policy.rules), warnings, compared)

    async def remove(self, session: AsyncSession, by: str, name: str) -> int:
        """Take it out of force: a version without a text. Raises PolicyNotFoundError."""
        await store.lock(session)
        before = await store.latest(session, name)
        if before is None or before.source is None:
            raise PolicyNotFoundError(name)
        version = before.version + 1
        await store.add(session, name=name, version=version, text=None, by=by)
        await self._record(session, by, name, version, EventType.POLICY_REMOVED)
        return version

    async def roll_back(self, session: AsyncSession, by: str, name: str, to: int) -> Applied:
        """Apply an older version anew. Raises PolicyNotFoundError, and PolicyInvalidError when it is none any more."""
        old = await self.get(session, name, to)
        if old.source is None:
            raise InvalidError(f"Version {to} of policy {name!r} is its removal.", hint="Remove it instead.")
        return await self.apply(session, by, old.source)

    async def get(self, session: AsyncSession, name: str, version: int | None = None) -> Policy:
        """One version, or the one in force. Raises PolicyNotFoundError."""
        if version is None:
            found = await store.latest(session, name)
            if found is None or found.source is None:
                raise PolicyNotFoundError(name)
            return found
        found = await store.version(session, name, version)
        if found is None:
            raise PolicyNotFoundError(name, version)
        return found

    async def page(self, session: AsyncSession, *, after: str | None, limit: int) -> Sequence[Policy]:
        return await store.page(session, after=after, limit=limit)

    async def versions(self, session: AsyncSession, name: str, *, below: int | None, limit: int) -> Sequence[Policy]:
        """The newest first. Raises PolicyNotFoundError."""
        if await store.latest(session, name) is None:
            raise PolicyNotFoundError(name)
        return await store.versions(session, name, below=below, limit=limit)

    async def _room(self, session: AsyncSession, name: str) -> None:
        there = [row.name for row in await store.page(session, after=None, limit=MAX_POLICIES)]
        if len(there) >= MAX_POLICIES and name not in there:
            raise TooManyPoliciesError(f"There are {MAX_POLICIES} policies.", hint="Put rules together.")

    async def _warnings(self, session: AsyncSession, policy: PolicyPart) -> tuple[str, ...]:
        """Names that nobody has: a rule with a slip in a name is in force and never fits."""
        found: list[str] = []
        for rule in policy.rules:
            for name in rule.actions.names or ():
                if name not in self.actions:
                    near = difflib.get_close_matches(name, self.actions, n=1)
                    hint = f" Did you mean {near[0]}?" if near else ""
                    found.append(f"{rule.name}: no action is named {name!r}.{hint}")
            for name in rule.agents or ():
                try:
                    await self.agents.get(session, name)
                except AgentNotFoundError:
                    found.append(f"{rule.name}: there is no agent {name!r}.")
        return tuple(found[:MAX_WARNINGS])

    async def _record(self, session: AsyncSession, by: str, name: str, version: int, event: EventType) -> None:
        decision = "applied" if event is EventType.POLICY_APPLIED else "removed"
        data = {"policy": name, "version": version}
        row = {"actor": by, "action": "policy", "decision": decision, "reason": f"{name} version {version}"}
        await governance_store.audit(session, {**row, "data": data})
        await self.outbox.emit(session, event, actor=by, data=data)


def diff(old: str, new: str, name: str, before: int, after: int) -> str:
    """In the unified format; empty when they are the same."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), f"{name}@{before}", f"{name}@{after}", lineterm="")
    return "\n".join(lines)
