"""SQL of skills."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncSession

from atom.kit.ids import new_id
from atom.kit.packing import Packed
from atom.skills.registry.models import Skill, SkillVersion, Status


async def count(session: AsyncSession) -> int:
    return await session.scalar(select(func.count()).select_from(Skill)) or 0


async def add(session: AsyncSession, name: str, *, lowest_maturity: str, highest_risk: int) -> None:
    """Nothing happens when the name is there (also one that another transaction is adding)."""
    values = {"id": new_id(), "name": name, "lowest_maturity": lowest_maturity, "highest_risk": highest_risk}
    statement = pg_insert(Skill).values(**values, created_at=func.now(), updated_at=func.now())
    await session.execute(statement.on_conflict_do_nothing())


async def by_name(session: AsyncSession, name: str, *, lock: bool = False, hold: bool = False) -> Skill | None:
    """`lock`: for a change. `hold`: no change of it commits before this transaction ends."""
    query = select(Skill).where(Skill.name == name).execution_options(populate_existing=True)
    if lock or hold:
        query = query.with_for_update(read=not lock)
    return (await session.scalars(query)).one_or_none()


async def save(session: AsyncSession, id_: UUID, values: dict[str, Any]) -> None:
    await session.execute(update(Skill).where(Skill.id == id_).values(updated_at=func.now(), **values))


async def page(session: AsyncSession, *, before: UUID | None, limit: int) -> Sequence[Skill]:
    """The newest first."""
    query = select(Skill).order_by(Skill.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Skill.id < before)
    return (await session.scalars(query)).all()


async def add_version(session: AsyncSession, values: dict[str, Any]) -> UUID:
    id_ = new_id()
    await session.execute(insert(SkillVersion).values(id=id_, imported_at=func.now(), **values))
    return id_


async def version(session: AsyncSession, skill_id: UUID, digest: str) -> SkillVersion | None:
    query = select(SkillVersion).where(SkillVersion.skill_id == skill_id, SkillVersion.digest == digest)
    return (await session.scalars(query.execution_options(populate_existing=True))).one_or_none()


async def by_ids(session: AsyncSession, ids: Collection[UUID]) -> Sequence[SkillVersion]:
    query = select(SkillVersion).where(SkillVersion.id.in_(ids)).execution_options(populate_existing=True)
    return (await session.scalars(query)).all()


async def newest(session: AsyncSession, skill_ids: Collection[UUID]) -> Sequence[SkillVersion]:
    """Of each skill the version that was imported last."""
    query = select(SkillVersion).where(SkillVersion.skill_id.in_(skill_ids))
    query = query.ext(distinct_on(SkillVersion.skill_id)).order_by(SkillVersion.skill_id, SkillVersion.number.desc())
    return (await session.scalars(query)).all()


async def versions(session: AsyncSession, skill_id: UUID, *, limit: int) -> Sequence[SkillVersion]:
    """The newest first."""
    query = select(SkillVersion).where(SkillVersion.skill_id == skill_id).order_by(SkillVersion.number.desc())
    return (await session.scalars(query.limit(limit))).all()


async def newest_like(session: AsyncSession, skill_id: UUID, digits: str) -> SkillVersion | None:
    """The one imported last whose hash begins with `digits` (hexadecimal)."""
    query = select(SkillVersion).where(SkillVersion.skill_id == skill_id)
    query = query.where(SkillVersion.digest.startswith(f"sha256:{digits}")).order_by(SkillVersion.number.desc())
    return (await session.scalars(query.limit(1))).first()


async def has_double(session: AsyncSession, id_: UUID, digits: str) -> bool:
    """Whether the hash of another version of the same skill begins with `digits` (hexadecimal)."""
    own = select(SkillVersion.skill_id).where(SkillVersion.id == id_).scalar_subquery()
    query = select(SkillVersion.id).where(SkillVersion.skill_id == own, SkillVersion.id != id_)
    query = query.where(SkillVersion.digest.startswith(f"sha256:{digits}")).limit(1)
    return await session.scalar(query) is not None


async def highest_number(session: AsyncSession, skill_id: UUID) -> int:
    return await session.scalar(select(func.max(SkillVersion.number)).where(SkillVersion.skill_id == skill_id)) or 0


async def approved_before(session: AsyncSession, one: SkillVersion) -> SkillVersion | None:
    """The other version of the same skill that was approved last."""
    query = select(SkillVersion).where(SkillVersion.skill_id == one.skill_id, SkillVersion.id != one.id)
    if one.approved_at is not None:
        query = query.where(SkillVersion.approved_at < one.approved_at)
    query = query.where(SkillVersion.consented).order_by(SkillVersion.approved_at.desc(), SkillVersion.number.desc())
    return (await session.scalars(query.limit(1))).one_or_none()


async def set_status(
    session: AsyncSession, id_: UUID, status: Status, *, reason: str, approved_by: str = "", disabled_by: str = ""
) -> None:
    """`approved_by`, `disabled_by`: who, where the move is that."""
    values: dict[str, Any] = {"status": status.value, "reason": reason}
    if approved_by:
        values |= {"consented": True, "approved_by": approved_by, "approved_at": func.now()}
    if disabled_by:
        values |= {"disabled_by": disabled_by, "disabled_at": func.now()}
    await session.execute(update(SkillVersion).where(SkillVersion.id == id_).values(**values))


async def body(session: AsyncSession, id_: UUID) -> Packed:
    query = select(SkillVersion.body, SkillVersion.body_sha256, SkillVersion.unpacked).where(SkillVersion.id == id_)
    row = (await session.execute(query)).one()
    return Packed(row.body, row.body_sha256, row.unpacked)


async def any_active(session: AsyncSession) -> bool:
    return await session.scalar(select(Skill.id).where(Skill.current_id.is_not(None)).limit(1)) is not None


@dataclass(frozen=True, slots=True)
class Listed:
    """Of a skill in use what lists need. `declared`: its capabilities, without what was seen."""

    name: str
    agents: Sequence[str] | None
    lowest_maturity: str
    highest_risk: int
    digest: str
    description: str
    risk: int
    declared: dict[str, Any]


async def listed(session: AsyncSession) -> list[Listed]:
    """Every skill with a version in use that somebody consented to, by name."""
    said = SkillVersion.capabilities.op("-")("seen")  # as large as the skill's code
    query = select(
        Skill.name, Skill.agents, Skill.lowest_maturity, Skill.highest_risk, SkillVersion.digest,
        SkillVersion.description, SkillVersion.risk, said.label("declared"),
    )  # fmt: skip
    query = query.join(SkillVersion, SkillVersion.id == Skill.current_id)
    query = query.where(SkillVersion.status == Status.ACTIVE.value, SkillVersion.consented, SkillVersion.blocking == 0)
    rows = (await session.execute(query.order_by(Skill.name.collate("C")))).all()
    return [Listed(*row) for row in rows]


async def active(session: AsyncSession) -> Sequence[tuple[Skill, SkillVersion]]:
    """Every skill with a version in use, by name."""
    query = select(Skill, SkillVersion).join(SkillVersion, SkillVersion.id == Skill.current_id)
    rows = (await session.execute(query.order_by(Skill.name.collate("C")))).all()
    return [(row[0], row[1]) for row in rows]
