"""The rules in force, as this process knows them: read anew when the epoch says that they are others."""

from dataclasses import dataclass, field

import structlog
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from atom.governance.policies import store
from atom.governance.policies.errors import PolicyUnreadableError
from atom.governance.policies.rules import Rule, RuleSet
from atom.governance.policies.schema import policy_of

log = structlog.get_logger(service="governance")


@dataclass(frozen=True, slots=True)
class InForce:
    """`stamp`: the epoch at which these were the rules."""

    stamp: str
    rules: RuleSet


@dataclass(slots=True)
class PolicyDirectory:
    _known: InForce = field(default_factory=lambda: InForce("", RuleSet()), init=False)

    async def at(self, session: AsyncSession, stamp: str) -> InForce:
        """Those of this epoch, or of a later one. Raises PolicyUnreadableError: then nothing is authorised."""
        if self._known.stamp == stamp:
            return self._known
        found, rows = await store.in_force(session)
        rules: list[Rule] = []
        for name, document in rows:
            try:
                rules += policy_of(document).build()
            except (ValidationError, ValueError) as error:
                log.error("governance.policy_unreadable", policy=name, error_code=PolicyUnreadableError.code)
                raise PolicyUnreadableError(
                    f"Policy {name!r} is in force, and this process cannot read it.",
                    hint="Apply it again from this release, or remove it: `atom governance policies`.",
                ) from error
        self._known = InForce(found, RuleSet(tuple(rules)))
        log.info("governance.policies_read", policies=len(rows), rules=len(rules))
        return self._known
