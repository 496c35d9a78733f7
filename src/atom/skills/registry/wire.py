"""What the API says of skills."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from atom.governance.models import Maturity, Risk
from atom.kit.text import clean_json
from atom.skills.registry.access import MAX_AGENTS, Access
from atom.skills.registry.capabilities import difference, file_difference, lowest
from atom.skills.registry.models import SkillVersion, Status
from atom.skills.registry.service import MAX_REASON, Standing, access_of
from atom.skills.scan.models import Scan

Digest = Field(max_length=71, description="`sha256:` and 64 hexadecimal digits.")


class AccessIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    agents: list[str] | None = Field(default=None, max_length=MAX_AGENTS, description="Names. None: every agent.")
    lowest_maturity: Maturity = Maturity.SUPERVISED
    highest_risk: Literal[1, 2, 3, 4] = Field(default=4, description="A version that declares more is not used.")

    def access(self) -> Access:
        return Access(self.agents, self.lowest_maturity, Risk(self.highest_risk))


class ApproveIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    digest: str = Digest
    capabilities_digest: str = Digest
    reason: str = Field(default="", max_length=MAX_REASON)
    activate: bool = Field(default=True, description="Use it from now on, in place of the version in use.")


class ReasonIn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    reason: str = Field(default="", max_length=MAX_REASON, description="Why; kept with the version and in the audit.")


WHOLE = ReasonIn()


class VersionBrief(BaseModel):
    version: int
    digest: str
    status: Status
    description: str
    counts: dict[str, int] = Field(description="Findings by severity.")
    approvable: bool = Field(description="False: findings stand in the way of an approval.")
    capabilities_digest: str
    risk: int = Field(description="What it declares; 4 where it declares nothing. Never below what the scan saw.")
    imported_by: str
    imported_at: datetime
    approved_by: str | None
    approved_at: datetime | None
    disabled_by: str | None
    disabled_at: datetime | None
    reason: str


class AccessOut(BaseModel):
    agents: list[str] | None
    lowest_maturity: str
    highest_risk: int


class SkillOut(BaseModel):
    """`current`: the version in use. None: the skill is not used."""

    name: str
    description: str
    current: VersionBrief | None
    newest: VersionBrief
    access: AccessOut


class SkillPage(BaseModel):
    items: list[SkillOut]
    next: str | None


class SkillDetailOut(SkillOut):
    versions: list[VersionBrief] = Field(description="The newest 50, the newest first.")


class SourceOut(BaseModel):
    """Where a skill was fetched from."""

    url: str = Field(description="What was asked for, without query.")
    archive: str = Field(description="Where it was found in the end.")
    ref: str = Field(description="Branch, tag or commit; empty where none is known.")
    commit: str = Field(description="As the archive says it; empty where it does not.")
    folder: str = Field(description="In the archive; empty: its top.")


class ImportedOut(BaseModel):
    name: str
    created: bool = Field(description="False: this content was imported before; nothing was changed.")
    version: VersionBrief
    source: SourceOut | None = Field(default=None, description="None: it was uploaded.")


class FindingOut(BaseModel):
    id: str
    severity: str
    file: str
    line: int | None
    column: int | None
    message: str
    fix: str
    mended: bool


class ReportOut(BaseModel):
    """A verdict by the specification alone; `digest` is what an import of the same content would have."""

    valid: bool
    approvable: bool
    name: str
    description: str
    form: str
    digest: str
    files: int
    bytes: int
    counts: dict[str, int]
    findings: list[FindingOut]


class FileOut(BaseModel):
    path: str
    bytes: int
    executable: bool
    sha256: str


class ChangesOut(BaseModel):
    """Against the version that was approved before."""

    version: int
    digest: str
    capabilities: list[str] = Field(description="Lines `- path: value` and `+ path: value`.")
    files: list[str] = Field(description="Lines `- path`, `+ path` and `~ path`.")


class VersionOut(VersionBrief):
    name: str
    form: str
    bytes: int
    manifest: str = Field(description="The path of its SKILL.md.")
    files: list[FileOut]
    frontmatter: dict[str, Any]
    capabilities: dict[str, Any] = Field(
        description="`metadata.atom` of its frontmatter, and below `seen` what the scan saw."
    )
    findings: list[FindingOut] = Field(description="At most 1,000, those that stand in the way first among them.")
    changes: ChangesOut | None = Field(description="None: no other version was approved before.")


class ScanOut(BaseModel):
    """`lowest_risk`: what the version counts as at least, whatever it declares."""

    name: str
    version: int
    digest: str
    lowest_risk: int
    counts: dict[str, int] = Field(description="Findings by severity.")
    seen: dict[str, Any] = Field(description="`code`: what scripts do; `instructions`: what the agent is told to do.")
    findings: list[FindingOut]


class TextOut(BaseModel):
    path: str
    bytes: int
    text: str
    cut: bool = Field(description="True: there is more of it than is shown.")


class LockedOut(BaseModel):
    name: str
    version: int
    digest: str
    capabilities_digest: str
    capabilities: dict[str, Any]


class LockOut(BaseModel):
    format: int
    skills: list[LockedOut] = Field(description="Those in use, by name.")


def brief(row: SkillVersion) -> VersionBrief:
    return VersionBrief.model_validate(_brief(row))


def skill_out(standing: Standing) -> SkillOut:
    return SkillOut.model_validate(_skill(standing))


def detail_out(standing: Standing, versions: list[SkillVersion]) -> SkillDetailOut:
    return SkillDetailOut.model_validate({**_skill(standing), "versions": [_brief(one) for one in versions]})


def version_out(name: str, row: SkillVersion, before: SkillVersion | None) -> VersionOut:
    more = {
        "name": name,
        "form": row.form,
        "bytes": sum(one["bytes"] for one in row.files),
        "manifest": row.manifest,
        "files": row.files,
        "frontmatter": row.frontmatter,
        "capabilities": row.capabilities,
        "findings": row.findings,
        "changes": None if before is None else _changes(before, row),
    }
    return VersionOut.model_validate({**_brief(row), **more})


def scan_out(name: str, row: SkillVersion, scan: Scan) -> ScanOut:
    more = {"name": name, "version": row.number, "digest": row.digest, "lowest_risk": lowest(scan).value}
    return ScanOut.model_validate({**clean_json(scan.plain()), **more})


def _changes(before: SkillVersion, after: SkillVersion) -> dict[str, Any]:
    return {
        "version": before.number,
        "digest": before.digest,
        "capabilities": difference(before.capabilities, after.capabilities),
        "files": file_difference(before.files, after.files),
    }


def _skill(standing: Standing) -> dict[str, Any]:
    access = access_of(standing.skill)
    return {
        "name": standing.skill.name,
        "description": (standing.current or standing.newest).description,
        "current": None if standing.current is None else _brief(standing.current),
        "newest": _brief(standing.newest),
        "access": {
            "agents": access.agents,
            "lowest_maturity": access.lowest_maturity.value,
            "highest_risk": access.highest_risk.value,
        },
    }


def _brief(row: SkillVersion) -> dict[str, Any]:
    same = ("digest", "status", "description", "counts", "capabilities_digest", "risk", "reason")
    who = ("imported_by", "imported_at", "approved_by", "approved_at", "disabled_by", "disabled_at")
    return {
        "version": row.number,
        "approvable": row.blocking == 0,
        **{name: getattr(row, name) for name in (*same, *who)},
    }
