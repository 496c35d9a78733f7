"""Whether a script may be run now: asked in the transaction that puts it on record, and nowhere else."""

from sqlalchemy.ext.asyncio import AsyncSession

from atom.skills.execution.errors import NetworkMismatchError, SkillChangedError
from atom.skills.execution.models import Purpose
from atom.skills.execution.orders import Order
from atom.skills.registry.using import Usable, Use

SHORTEST_VERSION = 12  # hexadecimal digits of a hash


async def allowed(session: AsyncSession, use: Use, order: Order) -> Usable:
    """The content that will be run. Nobody disables it before this transaction ends.

    Raises SkillNotFoundError, SkillNotUsableError, SkillChangedError, NetworkMismatchError, AgentNotFoundError.
    """
    if order.purpose is Purpose.TEST:
        usable = await use.trial(session, order.skill, order.version)
    elif order.agent is None:
        usable = await use.by_person(session, order.skill)
    else:
        usable = await use.usable(session, order.skill, order.agent)
    if order.version and order.purpose is Purpose.RUN:  # what is tried was found by it
        check_version(usable, order.version)
        if await use.is_doubled(session, usable, order.version):
            raise SkillChangedError(
                f"Skill {usable.name!r} has more than one version that begins with {order.version[:80]!r}.",
                hint="Look at who made them alike. All 64 digits of the hash name one.",
                version=usable.digest,
            )
    if order.online is not None and order.online != bool(usable.hosts):
        raise NetworkMismatchError(
            f"Skill {usable.name!r} declares {'hosts' if usable.hosts else 'no hosts'}.",
            hint=f"Use {'run_online_skill' if usable.hosts else 'run_skill'} for it.",
        )
    return usable


def check_version(usable: Usable, version: str) -> None:
    """Raises SkillChangedError."""
    digits = version.removeprefix("sha256:").lower()
    if len(digits) < SHORTEST_VERSION or not usable.digest.removeprefix("sha256:").startswith(digits):
        raise SkillChangedError(
            f"Skill {usable.name!r} has another version than {version[:80]!r} in use.",
            hint="Read it again: what it says and does may be different.",
            version=usable.digest,
        )
