"""What execution asks: whether an agent may use a skill, with which content. Enforced here, not in lists."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.service import AgentService
from atom.governance.models import Maturity, Risk
from atom.kit.packing import Packed
from atom.kit.text import clean
from atom.skills.bundle.models import Bundle
from atom.skills.registry import store
from atom.skills.registry.access import Refusal, refusal
from atom.skills.registry.capabilities import hosts_of
from atom.skills.registry.errors import SkillNotFoundError, SkillNotUsableError, SkillVersionNotFoundError
from atom.skills.registry.models import Skill, SkillVersion, Status
from atom.skills.registry.packing import unpack
from atom.skills.registry.service import access_of

HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Usable:
    """An active version that the agent may use.

    `risk`: what it declares, critical where it declares none; never below what was seen.
    """

    name: str
    version_id: UUID
    number: int
    digest: str
    manifest: str
    capabilities: Mapping[str, Any]
    capabilities_digest: str
    risk: Risk
    description: str = ""
    paths: tuple[str, ...] = ()

    @property
    def hosts(self) -> tuple[str, ...]:
        """What it may reach, by its declaration."""
        return hosts_of(self.capabilities)


@dataclass(frozen=True, slots=True)
class Use:
    agents: AgentService

    async def usable(self, session: AsyncSession, name: str, agent: str) -> Usable:
        """The version in use, if the agent (name or id) may use it. `agent` and access are read anew.

        Nobody disables the skill before this transaction ends: whatever it starts was started before. Raises
        SkillNotFoundError, SkillNotUsableError, AgentNotFoundError.
        """
        skill, version = await self._active(session, name, agent)
        asking = await self.agents.get(session, agent)
        why = refusal(access_of(skill), agent=asking.name, maturity=Maturity(asking.maturity), risk=Risk(version.risk))
        if why is not None:
            raise _refused(why, skill, asking.name)
        return _usable(skill, version)

    async def by_person(self, session: AsyncSession, name: str) -> Usable:
        """The version in use, for somebody whose permission was looked at. Held as `usable` holds it."""
        return _usable(*await self._active(session, name, ""))

    async def trial(self, session: AsyncSession, name: str, version: str) -> Usable:
        """A version that somebody wants to try who may approve it: by digits that its hash begins with, else the one
        imported last. Not one that was taken out of use. Held as `usable` holds it."""
        skill = await self._held(session, name)
        wanted = version.removeprefix("sha256:").lower()
        if wanted and not set(wanted) <= HEX:
            raise SkillVersionNotFoundError(skill.name, version)
        found = await store.newest_like(session, skill.id, wanted)
        if found is None:
            raise SkillVersionNotFoundError(skill.name, version)
        if found.status in {Status.DISABLED, Status.RETIRED}:
            raise _refused(Refusal.NOT_ACTIVE, skill, "")
        return _usable(skill, found)

    async def is_doubled(self, session: AsyncSession, usable: Usable, version: str) -> bool:
        """Whether another version of the skill begins with these digits, too: whoever writes both can make it so."""
        return await store.has_double(session, usable.version_id, version.removeprefix("sha256:").lower())

    async def _active(self, session: AsyncSession, name: str, agent: str) -> tuple[Skill, SkillVersion]:
        skill = await self._held(session, name)
        found = await store.by_ids(session, [skill.current_id] if skill.current_id else [])
        if not found or not _consented(found[0]):
            raise _refused(Refusal.NOT_ACTIVE, skill, agent)
        return skill, found[0]

    async def _held(self, session: AsyncSession, name: str) -> Skill:
        skill = await store.by_name(session, clean(name), hold=True)
        if skill is None:
            raise SkillNotFoundError(name)
        return skill


@dataclass(frozen=True, slots=True)
class Stored:
    """A content as it lies in the database: unpacking it costs time, and belongs outside of the transaction."""

    packed: Packed
    manifest: str
    form: str
    digest: str

    async def bundle(self) -> Bundle:
        """The files, proven against their hash. Raises SkillCorruptError."""
        return await asyncio.to_thread(unpack, self.packed, manifest=self.manifest, form=self.form, digest=self.digest)


async def stored(session: AsyncSession, version: SkillVersion) -> Stored:
    return Stored(await store.body(session, version.id), version.manifest, version.form, version.digest)


async def content(session: AsyncSession, usable: Usable) -> Stored:
    """Of what `usable` allowed."""
    (version,) = await store.by_ids(session, [usable.version_id])
    return await stored(session, version)


def _usable(skill: Skill, version: SkillVersion) -> Usable:
    return Usable(
        name=skill.name,
        version_id=version.id,
        number=version.number,
        digest=version.digest,
        manifest=version.manifest,
        capabilities=version.capabilities,
        capabilities_digest=version.capabilities_digest,
        risk=Risk(version.risk),
        description=version.description,
        paths=tuple(one["path"] for one in version.files),
    )


def _consented(version: SkillVersion) -> bool:
    return version.status == Status.ACTIVE and version.consented and version.blocking == 0


def _refused(why: Refusal, skill: Skill, agent: str) -> SkillNotUsableError:
    said, hint = {
        Refusal.NOT_ACTIVE: ("No version of it is active.", "`atom skills show` tells how each of them stands."),
        Refusal.AGENT: (f"Agent {agent!r} is not among those that may use it.", "`atom skills access` names them."),
        Refusal.MATURITY: (
            f"Agent {agent!r} is below {skill.lowest_maturity}.",
            "`atom skills access` sets the lowest maturity.",
        ),
        Refusal.RISK: (
            f"Its risk is higher than {skill.highest_risk}.",
            "`atom skills access` sets the highest risk.",
        ),
    }[why]
    return SkillNotUsableError(f"Skill {skill.name!r} cannot be used. {said}", reason=why.value, hint=hint)
