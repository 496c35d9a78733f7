"""REST: the registry of skills."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Path, Query, Response, UploadFile
from sqlalchemy.ext.asyncio import AsyncSession

from atom.errors import InvalidError
from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission, Principal
from atom.infra.db import Sessions, unit_of_work
from atom.infra.egress_address import MAX_URL_CHARS
from atom.kit.pages import MAX_LIMIT, parse_cursor, to_page
from atom.skills.bundle.limits import LIMITS
from atom.skills.layer import SkillLayer
from atom.skills.registry.lock_file import lock_file
from atom.skills.registry.service import Consent, Registry
from atom.skills.registry.showing import text_file
from atom.skills.registry.using import stored
from atom.skills.registry.wire import (
    WHOLE,
    AccessIn,
    ApproveIn,
    ImportedOut,
    LockOut,
    ReasonIn,
    ReportOut,
    ScanOut,
    SkillDetailOut,
    SkillOut,
    SkillPage,
    SourceOut,
    TextOut,
    VersionOut,
    brief,
    detail_out,
    scan_out,
    skill_out,
    version_out,
)
from atom.skills.sources.fetching import Origin

MULTIPART_OVERHEAD = 16_384  # boundaries and part headers around one uploaded file
MAX_PATH = 4096
SLOW: dict[int | str, dict[str, Any]] = {
    504: {
        "description": "The address did not answer in time.",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}
HEX = re.compile(r"[0-9a-f]{64}")
Url = Annotated[
    str | None,
    Form(
        max_length=MAX_URL_CHARS,
        description="In place of a file: a repository (https://github.com/OWNER/REPOSITORY/tree/BRANCH/FOLDER, and as "
        "GitLab and Gitea write it), or an archive.",
    ),
]
Name = Annotated[str, Path(max_length=200)]
Version = Annotated[str, Path(max_length=200, description="The content's hash, with or without `sha256:`.")]


def routes(layer: SkillLayer, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/skills", tags=["skills"], route_class=GuardedRoute)
    Writer = Annotated[Principal, Depends(guard.requires(Permission.SKILLS_WRITE))]  # noqa: N806 - a type
    Admin = Annotated[Principal, Depends(guard.requires(Permission.SKILLS_ADMIN))]  # noqa: N806 - a type
    Reader = Annotated[Principal, Depends(guard.requires(Permission.SKILLS_READ))]  # noqa: N806 - a type
    registry = layer.registry

    @router.post("/import", status_code=201, responses=SLOW, max_body_size=LIMITS.packed_bytes + MULTIPART_OVERHEAD)
    async def import_skill(
        by: Writer, response: Response, file: UploadFile | None = None, url: Url = None
    ) -> ImportedOut:
        """Take in a SKILL.md, a zip or a tar, uploaded or fetched from an address; it is quarantined until somebody
        approves it. 200 where the same content was imported before."""
        name, row, origin = await _read(layer, file, url)
        source = None if origin is None else origin.plain()
        async with unit_of_work(sessions) as session:
            found = await registry.add(session, by.actor, name, row, source=source)
            if not found.fresh:
                response.status_code = 200
            come = None if source is None else SourceOut.model_validate(source)
            return ImportedOut(name=found.skill.name, created=found.fresh, version=brief(found.version), source=come)

    @router.post("/validate", max_body_size=LIMITS.packed_bytes + MULTIPART_OVERHEAD)
    async def validate_skill(file: UploadFile, by: Reader) -> ReportOut:
        """Check a SKILL.md, a zip or a tar against the specification. Nothing of it is kept or executed."""
        del by
        data = await file.read(LIMITS.packed_bytes + 1)
        report = await layer.reader.validate(data, file.filename or "")
        return ReportOut.model_validate(report.plain())

    @router.put("/{skill}/access")
    async def set_skill_access(skill: Name, body: AccessIn, by: Admin) -> SkillOut:
        """Say who may use it, in place of what was said before; in force with the next use."""
        async with unit_of_work(sessions) as session:
            changed = await registry.set_access(session, by.actor, skill, body.access())
            return skill_out(await registry.get(session, changed.name))

    _reading(router, layer, sessions, guard)
    _moving(router, registry, sessions, guard)
    return router


async def _read(
    layer: SkillLayer, file: UploadFile | None, url: str | None
) -> tuple[str, dict[str, Any], Origin | None]:
    """The skill's name, its row, and where it was fetched from."""
    if (file is None) == (url is None):
        raise InvalidError("One of `file` and `url` is wanted.", hint="Send a form with one of them.", field="file")
    if url is not None:
        return await layer.reader.read_from(url)
    data, called = (b"", "") if file is None else (await file.read(LIMITS.packed_bytes + 1), file.filename or "")
    name, row = await layer.reader.read(data, called)
    return name, row, None


def _reading(router: APIRouter, layer: SkillLayer, sessions: Sessions, guard: Guard) -> None:
    registry = layer.registry
    reader = [Depends(guard.requires(Permission.SKILLS_READ))]

    @router.get("", dependencies=reader)
    async def list_skills(limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50, after: str | None = None) -> SkillPage:
        """The newest first."""
        cursor = parse_cursor(after)
        async with unit_of_work(sessions) as session:
            rows = await registry.page(session, before=cursor, limit=limit + 1)
        page = to_page(rows, limit, lambda row: row.skill.id)
        return SkillPage(items=[skill_out(row) for row in page.items], next=page.next)

    @router.get("/lock", dependencies=reader)
    async def skill_lock_file() -> LockOut:
        """Which bytes of which skills are in use: the same text for the same state."""
        async with unit_of_work(sessions) as session:
            return LockOut.model_validate(await lock_file(session))

    @router.get("/{skill}", dependencies=reader)
    async def show_skill(skill: Name) -> SkillDetailOut:
        """With its versions, the newest first."""
        async with unit_of_work(sessions) as session:
            found = await registry.get(session, skill)
            return detail_out(found, list(await registry.versions(session, found.skill.name)))

    @router.get("/{skill}/versions/{version}", dependencies=reader)
    async def show_skill_version(skill: Name, version: Version) -> VersionOut:
        """With its findings and files, and what is different from the version approved before."""
        async with unit_of_work(sessions) as session:
            return await _shown(registry, session, skill, version)

    @router.get("/{skill}/versions/{version}/scan", dependencies=reader)
    async def scan_skill_version(skill: Name, version: Version) -> ScanOut:
        """What it can do and what is suspicious about it, by the rules as they are now; nothing of it is executed."""
        async with layer.reader.turns:
            async with unit_of_work(sessions) as session:
                row = await registry.version(session, skill, _digest(version))
                kept = await stored(session, row)
            scan = await layer.reader.scan(await kept.bundle())
        return scan_out(skill, row, scan)

    @router.get("/{skill}/versions/{version}/files/{path:path}", dependencies=reader)
    async def show_skill_file(
        skill: Name, version: Version, path: Annotated[str, Path(max_length=MAX_PATH)]
    ) -> TextOut:
        """A text of it, at most 262,144 characters. Nothing of a skill is served as anything else."""
        async with layer.reader.turns:
            async with unit_of_work(sessions) as session:
                kept = await stored(session, await registry.version(session, skill, _digest(version)))
            shown = text_file(await kept.bundle(), path)
        return TextOut(path=shown.path, bytes=shown.size, text=shown.text, cut=shown.cut)


def _moving(router: APIRouter, registry: Registry, sessions: Sessions, guard: Guard) -> None:
    Writer = Annotated[Principal, Depends(guard.requires(Permission.SKILLS_WRITE))]  # noqa: N806 - a type
    Admin = Annotated[Principal, Depends(guard.requires(Permission.SKILLS_ADMIN))]  # noqa: N806 - a type

    @router.post("/{skill}/versions/{version}/approve")
    async def approve_skill_version(skill: Name, version: Version, body: ApproveIn, by: Admin) -> VersionOut:
        """Consent to exactly these bytes and capabilities. 409 when a hash is not that of the version, or when findings
        stand in the way."""
        consent = Consent(body.digest, body.capabilities_digest)
        async with unit_of_work(sessions) as session:
            place = (skill, _digest(version))
            await registry.approve(session, by.actor, place, consent, reason=body.reason, activate=body.activate)
            return await _shown(registry, session, skill, version)

    @router.post("/{skill}/versions/{version}/activate")
    async def activate_skill_version(skill: Name, version: Version, by: Admin, body: ReasonIn = WHOLE) -> VersionOut:
        """Use an approved version, or one that was disabled, in place of the one in use."""
        async with unit_of_work(sessions) as session:
            await registry.activate(session, by.actor, (skill, _digest(version)), reason=body.reason)
            return await _shown(registry, session, skill, version)

    @router.post("/{skill}/versions/{version}/disable")
    async def disable_skill_version(skill: Name, version: Version, by: Writer, body: ReasonIn = WHOLE) -> VersionOut:
        """Take it out of use at once. No other version comes in its place."""
        async with unit_of_work(sessions) as session:
            await registry.disable(session, by.actor, (skill, _digest(version)), reason=body.reason)
            return await _shown(registry, session, skill, version)

    @router.post("/{skill}/versions/{version}/retire")
    async def retire_skill_version(skill: Name, version: Version, by: Admin, body: ReasonIn = WHOLE) -> VersionOut:
        """Take it out of use for good: the same content cannot be approved again."""
        async with unit_of_work(sessions) as session:
            await registry.retire(session, by.actor, (skill, _digest(version)), reason=body.reason)
            return await _shown(registry, session, skill, version)


async def _shown(registry: Registry, session: AsyncSession, skill: str, version: str) -> VersionOut:
    row = await registry.version(session, skill, _digest(version))
    return version_out(skill, row, await registry.approved_before(session, row))


def _digest(version: str) -> str:
    return f"sha256:{version}" if HEX.fullmatch(version) else version
