"""The client's side of the registry of skills."""

from dataclasses import dataclass
from typing import Any, BinaryIO

from pydantic import Field

from atom.client.listing import Listing
from atom.client.models import At, Page, Wire
from atom.client.transport import Transport, segment


class SkillVersionBrief(Wire):
    version: int
    digest: str
    status: str
    description: str = ""
    counts: dict[str, int] = Field(default_factory=dict)
    approvable: bool = True
    capabilities_digest: str
    risk: int = 4
    imported_by: str = ""
    imported_at: At | None = None
    approved_by: str | None = None
    approved_at: At | None = None
    disabled_by: str | None = None
    disabled_at: At | None = None
    reason: str = ""


class SkillAccess(Wire):
    """`agents` None: every agent."""

    agents: tuple[str, ...] | None = None
    lowest_maturity: str
    highest_risk: int


class Skill(Wire):
    """`current`: the version in use, None where none is. `versions` come with `get` alone."""

    name: str
    description: str = ""
    current: SkillVersionBrief | None = None
    newest: SkillVersionBrief
    access: SkillAccess
    versions: tuple[SkillVersionBrief, ...] = ()


class SkillSource(Wire):
    """Where a skill was fetched from."""

    url: str
    archive: str = ""
    ref: str = ""
    commit: str = ""
    folder: str = ""


class ImportedSkill(Wire):
    """`created` False: this content was imported before. `source` None: it was uploaded."""

    name: str
    created: bool = True
    version: SkillVersionBrief
    source: SkillSource | None = None


class SkillFinding(Wire):
    id: str
    severity: str
    file: str
    line: int | None = None
    column: int | None = None
    message: str = ""
    fix: str = ""
    mended: bool = False


class SkillReport(Wire):
    """`digest` is what an import of the same content would have."""

    valid: bool
    approvable: bool
    name: str = ""
    description: str = ""
    form: str = ""
    digest: str
    files: int = 0
    bytes: int = 0
    counts: dict[str, int] = Field(default_factory=dict)
    findings: tuple[SkillFinding, ...] = ()


class SkillFile(Wire):
    path: str
    bytes: int
    executable: bool = False
    sha256: str = ""


class SkillChanges(Wire):
    """Against the version that was approved before."""

    version: int
    digest: str
    capabilities: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


class SkillVersion(SkillVersionBrief):
    name: str
    form: str = ""
    bytes: int = 0
    manifest: str = ""
    files: tuple[SkillFile, ...] = ()
    frontmatter: dict[str, Any] = Field(default_factory=dict)
    capabilities: dict[str, Any] = Field(default_factory=dict)
    findings: tuple[SkillFinding, ...] = ()
    changes: SkillChanges | None = None


class SkillScan(Wire):
    """`seen`: `code` is what scripts do, `instructions` what the agent is told to do."""

    name: str
    version: int
    digest: str
    lowest_risk: int = 4
    counts: dict[str, int] = Field(default_factory=dict)
    seen: dict[str, Any] = Field(default_factory=dict)
    findings: tuple[SkillFinding, ...] = ()


class SkillText(Wire):
    path: str
    bytes: int
    text: str
    cut: bool = False


class LockedSkill(Wire):
    name: str
    version: int
    digest: str
    capabilities_digest: str
    capabilities: dict[str, Any] = Field(default_factory=dict)


class SkillLock(Wire):
    format: int
    skills: tuple[LockedSkill, ...] = ()


@dataclass(frozen=True, slots=True)
class Skills:
    """`digest` is a version's content hash, whole."""

    transport: Transport

    async def import_(self, name: str, file: BinaryIO) -> ImportedSkill:
        """A SKILL.md, a zip or a tar, called `name` here."""
        return await self.transport.ask(ImportedSkill, "POST", "/api/skills/import", file=(name, file))

    async def import_from(self, url: str) -> ImportedSkill:
        """From an address that the server fetches."""
        return await self.transport.ask(ImportedSkill, "POST", "/api/skills/import", form={"url": url})

    async def validate(self, name: str, file: BinaryIO) -> SkillReport:
        """What the specification says of a SKILL.md, a zip or a tar; nothing of it is kept."""
        return await self.transport.ask(SkillReport, "POST", "/api/skills/validate", file=(name, file))

    def list(self) -> Listing[Skill]:
        return Listing(self.transport, Page[Skill], "/api/skills")

    async def get(self, skill: str) -> Skill:
        return await self.transport.ask(Skill, "GET", _skill(skill))

    async def version(self, skill: str, digest: str) -> SkillVersion:
        return await self.transport.ask(SkillVersion, "GET", _version(skill, digest))

    async def scan(self, skill: str, digest: str) -> SkillScan:
        """By the rules as they are now."""
        return await self.transport.ask(SkillScan, "GET", f"{_version(skill, digest)}/scan")

    async def text(self, skill: str, digest: str, path: str) -> SkillText:
        """One file of a version, where it is a text."""
        place = "/".join(segment(part) for part in path.split("/"))
        return await self.transport.ask(SkillText, "GET", f"{_version(skill, digest)}/files/{place}")

    async def approve(self, seen: SkillVersion, *, reason: str = "", activate: bool = True) -> SkillVersion:
        """Consent to exactly what was seen."""
        body = {
            "digest": seen.digest,
            "capabilities_digest": seen.capabilities_digest,
            "reason": reason,
            "activate": activate,
        }
        return await self.transport.ask(SkillVersion, "POST", f"{_version(seen.name, seen.digest)}/approve", body=body)

    async def activate(self, skill: str, digest: str, *, reason: str = "") -> SkillVersion:
        return await self._move(skill, digest, "activate", reason)

    async def disable(self, skill: str, digest: str, *, reason: str = "") -> SkillVersion:
        return await self._move(skill, digest, "disable", reason)

    async def retire(self, skill: str, digest: str, *, reason: str = "") -> SkillVersion:
        return await self._move(skill, digest, "retire", reason)

    async def set_access(self, skill: str, access: SkillAccess) -> Skill:
        """In place of what was said before."""
        body = {
            "agents": None if access.agents is None else [*access.agents],
            "lowest_maturity": access.lowest_maturity,
            "highest_risk": access.highest_risk,
        }
        return await self.transport.ask(Skill, "PUT", f"{_skill(skill)}/access", body=body)

    async def lock(self) -> SkillLock:
        return await self.transport.ask(SkillLock, "GET", "/api/skills/lock")

    async def _move(self, skill: str, digest: str, verb: str, reason: str) -> SkillVersion:
        path = f"{_version(skill, digest)}/{verb}"
        return await self.transport.ask(SkillVersion, "POST", path, body={"reason": reason})


def _skill(skill: str) -> str:
    return f"/api/skills/{segment(skill)}"


def _version(skill: str, digest: str) -> str:
    return f"{_skill(skill)}/versions/{segment(digest)}"
