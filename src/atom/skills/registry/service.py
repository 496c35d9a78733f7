"""The registry: importing, approving, taking in and out of use. Every change is audited and told in its transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.service import AgentService
from atom.errors import InvalidError
from atom.events.models import EventType
from atom.events.service import Outbox
from atom.governance import audit_book
from atom.governance.models import Maturity, Risk
from atom.kit.text import clean, shorten
from atom.skills.registry import store
from atom.skills.registry.access import FIRST, MAX_AGENTS, Access
from atom.skills.registry.errors import (
    SkillConsentError,
    SkillFindingsError,
    SkillNotFoundError,
    SkillVersionNotFoundError,
    TooManySkillsError,
)
from atom.skills.registry.models import Skill, SkillVersion, Status
from atom.skills.registry.transitions import Move, moved, superseded

MAX_SKILLS = 1000
MAX_VERSIONS = 500
MAX_REASON = 500
SHOWN_VERSIONS = 50


@dataclass(frozen=True, slots=True)
class Imported:
    """`fresh`: False when the same content was there before; nothing was changed then."""

    skill: Skill
    version: SkillVersion
    fresh: bool


@dataclass(frozen=True, slots=True)
class Consent:
    """What a person looked at: the hash of the content, and that of the capabilities."""

    digest: str
    capabilities_digest: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A skill, the version in use (None: it is not used), and the one imported last."""

    skill: Skill
    current: SkillVersion | None
    newest: SkillVersion


@dataclass(frozen=True, slots=True)
class Registry:
    agents: AgentService
    outbox: Outbox

    async def add(
        self,
        session: AsyncSession,
        by: str,
        name: str,
        row: Mapping[str, Any],
        *,
        source: Mapping[str, str] | None = None,
    ) -> Imported:
        """`row` is made by `records.row_of`; `source` is where it was fetched from, for the audit. Raises
        TooManySkillsError."""
        skill = await self._named(session, name)
        there = await store.version(session, skill.id, row["digest"])
        if there is not None:
            return Imported(skill, there, fresh=False)
        number = await store.highest_number(session, skill.id) + 1
        if number > MAX_VERSIONS:
            raise TooManySkillsError(f"Skill {name!r} has {MAX_VERSIONS} versions.", hint="Give it another name.")
        values = {**row, "skill_id": skill.id, "number": number, "status": Status.QUARANTINED.value}
        await store.add_version(session, {**values, "imported_by": by})
        version = await self._version(session, skill, row["digest"])
        more = {"source": dict(source)} if source else None
        await self._record(session, by, skill, version, decision="imported", reason="imported", more=more)
        return Imported(skill, version, fresh=True)

    async def approve(
        self,
        session: AsyncSession,
        by: str,
        place: tuple[str, str],
        consent: Consent,
        *,
        reason: str = "",
        activate: bool = True,
    ) -> SkillVersion:
        """Consent to exactly this content, and by default use it from now on.

        `place`: name and digest. Raises SkillConsentError, SkillFindingsError, SkillStatusError.
        """
        skill, version = await self._locked(session, *place)
        if consent.digest != version.digest:
            raise SkillConsentError("digest")
        if consent.capabilities_digest != version.capabilities_digest:
            raise SkillConsentError("capabilities_digest")
        status = moved(Status(version.status), Move.APPROVE)
        if version.blocking:
            blocking = [one for one in version.findings if one["severity"] == "error" and not one["mended"]]
            raise SkillFindingsError(blocking, version.blocking)
        said = _said(reason, "approved")
        await store.set_status(session, version.id, status, reason=said, approved_by=by)
        version = await self._version(session, skill, version.digest)
        await self._record(session, by, skill, version, decision=Move.APPROVE.value, reason=said)
        return await self._activate(session, by, skill, version, said) if activate else version

    async def activate(
        self, session: AsyncSession, by: str, place: tuple[str, str], *, reason: str = ""
    ) -> SkillVersion:
        """Use an approved version, or one that was disabled, in place of any other. Raises SkillStatusError."""
        skill, version = await self._locked(session, *place)
        return await self._activate(session, by, skill, version, _said(reason, "activated"))

    async def disable(
        self, session: AsyncSession, by: str, place: tuple[str, str], *, reason: str = ""
    ) -> SkillVersion:
        """Out of use, at once; no other version comes in its place. Raises SkillStatusError."""
        return await self._stop(session, by, place, Move.DISABLE, reason)

    async def retire(self, session: AsyncSession, by: str, place: tuple[str, str], *, reason: str = "") -> SkillVersion:
        """Out of use for good: the same content cannot be approved again."""
        return await self._stop(session, by, place, Move.RETIRE, reason)

    async def set_access(self, session: AsyncSession, by: str, name: str, access: Access) -> Skill:
        """In place of what was said before, for every version. Raises AgentNotFoundError."""
        agents = None if access.agents is None else await self._agent_names(session, access.agents)
        skill = await self._skill(session, name, lock=True)
        values = {
            "agents": agents,
            "lowest_maturity": access.lowest_maturity.value,
            "highest_risk": access.highest_risk.value,
        }
        await store.save(session, skill.id, values)
        data = {"skill": skill.name, **values}
        said = f"{skill.name}: access set"
        await audit_book.record(session, actor=by, action="skill", decision="access_set", reason=said, data=data)
        await self.outbox.emit(session, EventType.SKILL_CHANGED, actor=by, data={**data, "what": "access_set"})
        return await self._skill(session, name)

    async def get(self, session: AsyncSession, name: str) -> Standing:
        """Raises SkillNotFoundError."""
        return (await self._standings(session, [await self._skill(session, name)]))[0]

    async def page(self, session: AsyncSession, *, before: UUID | None, limit: int) -> list[Standing]:
        """The newest first."""
        return await self._standings(session, await store.page(session, before=before, limit=limit))

    async def versions(self, session: AsyncSession, name: str) -> Sequence[SkillVersion]:
        """The newest 50, the newest first."""
        skill = await self._skill(session, name)
        return await store.versions(session, skill.id, limit=SHOWN_VERSIONS)

    async def version(self, session: AsyncSession, name: str, digest: str) -> SkillVersion:
        """Raises SkillNotFoundError, SkillVersionNotFoundError."""
        return await self._version(session, await self._skill(session, name), digest)

    async def approved_before(self, session: AsyncSession, version: SkillVersion) -> SkillVersion | None:
        """What whoever approves `version` compares it with."""
        return await store.approved_before(session, version)

    async def _activate(
        self, session: AsyncSession, by: str, skill: Skill, version: SkillVersion, reason: str
    ) -> SkillVersion:
        status = moved(Status(version.status), Move.ACTIVATE)
        if version.status == status:
            return version
        others = await store.by_ids(session, [skill.current_id] if skill.current_id else [])
        for other in others:
            await store.set_status(session, other.id, superseded(Status(other.status)), reason=other.reason)
        await store.set_status(session, version.id, status, reason=reason)
        await store.save(session, skill.id, {"current_id": version.id})
        version = await self._version(session, skill, version.digest)
        replaced = others[0].digest if others else None
        await self._record(
            session, by, skill, version, decision=Move.ACTIVATE.value, reason=reason, more={"replaced": replaced}
        )
        return version

    async def _stop(
        self, session: AsyncSession, by: str, place: tuple[str, str], move: Move, reason: str
    ) -> SkillVersion:
        skill, version = await self._locked(session, *place)
        status = moved(Status(version.status), move)
        if version.status == status:
            return version
        said = _said(reason, move.value)
        await store.set_status(session, version.id, status, reason=said, disabled_by=by)
        if skill.current_id == version.id:
            await store.save(session, skill.id, {"current_id": None})
        version = await self._version(session, skill, version.digest)
        await self._record(session, by, skill, version, decision=move.value, reason=said)
        return version

    async def _named(self, session: AsyncSession, name: str) -> Skill:
        """The skill, made when it is not there; locked."""
        if await store.by_name(session, name) is None:
            if await store.count(session) >= MAX_SKILLS:
                raise TooManySkillsError(f"There are {MAX_SKILLS} skills.", hint="Put skills together.")
            await store.add(
                session, name, lowest_maturity=FIRST.lowest_maturity.value, highest_risk=FIRST.highest_risk.value
            )
        return await self._skill(session, name, lock=True)

    async def _locked(self, session: AsyncSession, name: str, digest: str) -> tuple[Skill, SkillVersion]:
        skill = await self._skill(session, name, lock=True)
        return skill, await self._version(session, skill, digest)

    async def _skill(self, session: AsyncSession, name: str, *, lock: bool = False) -> Skill:
        skill = await store.by_name(session, clean(name), lock=lock)
        if skill is None:
            raise SkillNotFoundError(name)
        return skill

    async def _version(self, session: AsyncSession, skill: Skill, digest: str) -> SkillVersion:
        version = await store.version(session, skill.id, clean(digest))
        if version is None:
            raise SkillVersionNotFoundError(skill.name, digest)
        return version

    async def _standings(self, session: AsyncSession, skills: Sequence[Skill]) -> list[Standing]:
        current = await store.by_ids(session, [one.current_id for one in skills if one.current_id])
        by_id = {one.id: one for one in current}
        newest = {one.skill_id: one for one in await store.newest(session, [one.id for one in skills])}
        return [Standing(one, by_id.get(one.current_id) if one.current_id else None, newest[one.id]) for one in skills]

    async def _agent_names(self, session: AsyncSession, refs: Sequence[str]) -> list[str]:
        if len(refs) > MAX_AGENTS:
            raise InvalidError(f"agents: more than {MAX_AGENTS}.", hint="Leave it out: all of them.", field="agents")
        return sorted({(await self.agents.get(session, ref)).name for ref in refs})

    async def _record(
        self,
        session: AsyncSession,
        by: str,
        skill: Skill,
        version: SkillVersion,
        *,
        decision: str,
        reason: str,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        data = {
            "skill": skill.name,
            "version": version.number,
            "digest": version.digest,
            "capabilities_digest": version.capabilities_digest,
            "status": version.status,
            **(more or {}),
        }
        type_ = EventType.SKILL_IMPORTED if decision == "imported" else EventType.SKILL_CHANGED
        await audit_book.record(session, actor=by, action="skill", decision=decision, reason=reason, data=data)
        await self.outbox.emit(session, type_, actor=by, data={**data, "what": decision})


def access_of(skill: Skill) -> Access:
    return Access(skill.agents, Maturity(skill.lowest_maturity), Risk(skill.highest_risk))


def _said(reason: str, otherwise: str) -> str:
    return clean(shorten(reason.strip(), MAX_REASON)) or otherwise
