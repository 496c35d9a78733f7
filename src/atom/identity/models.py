"""Principals, roles and permissions."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from atom.infra.db import Base


class Role(StrEnum):
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    AGENT = "agent"


class Permission(StrEnum):
    """`<domain>:<read|write|admin>`. Every route names one."""

    AGENTS_READ = "agents:read"
    AGENTS_WRITE = "agents:write"
    AGENTS_ADMIN = "agents:admin"
    RUNS_READ = "runs:read"
    RUNS_WRITE = "runs:write"
    FEED_READ = "feed:read"
    APPROVALS_READ = "approvals:read"
    APPROVALS_WRITE = "approvals:write"
    GOVERNANCE_READ = "governance:read"
    GOVERNANCE_ADMIN = "governance:admin"
    AUDIT_READ = "audit:read"
    AUDIT_ADMIN = "audit:admin"
    TRIGGERS_READ = "triggers:read"
    TRIGGERS_WRITE = "triggers:write"
    MEMORY_READ = "memory:read"
    MEMORY_WRITE = "memory:write"
    SKILLS_READ = "skills:read"
    SKILLS_WRITE = "skills:write"
    SKILLS_ADMIN = "skills:admin"
    WEBHOOKS_ADMIN = "webhooks:admin"
    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    MODELS_READ = "models:read"
    MODELS_ADMIN = "models:admin"
    IDENTITY_READ = "identity:read"
    IDENTITY_ADMIN = "identity:admin"
    OPS_READ = "ops:read"
    OPS_ADMIN = "ops:admin"


_READ = frozenset(p for p in Permission if p.value.endswith(":read") and p is not Permission.IDENTITY_READ)
_WRITE = frozenset(p for p in Permission if p.value.endswith(":write"))
GRANTS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: _READ,
    Role.OPERATOR: _READ | _WRITE,
    Role.ADMIN: frozenset(Permission),
    Role.AGENT: frozenset({Permission.AGENTS_READ, Permission.RUNS_READ, Permission.RUNS_WRITE}),
}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls. `actor` is how audit rows and events name them."""

    key_id: UUID
    name: str
    role: Role

    @property
    def actor(self) -> str:
        return f"{self.role.value}:{self.name}"

    def may(self, permission: Permission) -> bool:
        return permission in GRANTS[self.role]


class AppUser(Base):
    """A person. Sign-in by password comes with the console; until then people use API keys."""

    __tablename__ = "app_user"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    role: Mapped[str]
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]


class ApiKey(Base):
    """A credential. Only the hash of its random part is stored; `key_id` finds the row."""

    __tablename__ = "api_key"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    key_id: Mapped[str]
    secret_hash: Mapped[bytes]
    name: Mapped[str]
    role: Mapped[str]
    user_id: Mapped[UUID | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
