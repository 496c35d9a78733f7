"""How long memory is kept: rules of each agent, legal hold, and forgetting for good."""

from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from atom.governance import audit_book
from atom.kit.text import clean
from atom.memory import archive_store, links, policy_store, store, tier_store
from atom.memory.errors import EpisodeHeldError, EpisodeInvalidError, EpisodeNotFoundError
from atom.memory.models import MemoryPolicy, Tier

MAX_REASON = 500
log = structlog.get_logger(service="episodic_memory")


@dataclass(frozen=True, slots=True)
class Rules:
    """Of one agent's memory. None: as in the settings (`decay_days`), or without end (`retention_days`)."""

    decay_days: int | None = None
    retention_days: int | None = None
    legal_hold: bool = False
    hold_reason: str | None = None


async def rules_of(session: AsyncSession, agent_id: UUID) -> Rules:
    return _rules(await policy_store.get(session, agent_id))


async def set_rules(session: AsyncSession, by: str, agent_id: UUID, rules: Rules) -> Rules:
    """In place of those before, audited. A deletion that has begun ends first. Raises EpisodeInvalidError."""
    for name, value, most in (
        ("decay_days", rules.decay_days, 3_650),
        ("retention_days", rules.retention_days, 36_500),
    ):
        if value is not None and not 1 <= value <= most:
            raise EpisodeInvalidError(f"{name}: {value} is not between 1 and {most}.", field=name)
    reason = _reason(rules.hold_reason, "hold_reason") if rules.hold_reason else None
    if rules.legal_hold and reason is None:
        raise EpisodeInvalidError("hold_reason: a legal hold needs one.", field="hold_reason")
    await policy_store.lock(session, agent_id)
    before = await rules_of(session, agent_id)
    values = {"decay_days": rules.decay_days, "retention_days": rules.retention_days, "legal_hold": rules.legal_hold}
    held = reason if rules.legal_hold else None
    await policy_store.put(session, agent_id, {**values, "hold_reason": held, "changed_by": by})
    after = await rules_of(session, agent_id)
    if after != before:
        await audit_book.record(
            session,
            actor=by,
            action="memory",
            decision="rules",
            reason=held or "changed",
            agent_id=agent_id,
            data=values,
        )
    return after


async def forget(
    session: AsyncSession, by: str, id_: UUID, *, reason: str, agent_id: UUID | None = None, run_id: UUID | None = None
) -> None:
    """The episode is gone for good, with its segments, lexemes, vectors and body; a tombstone and the audit say that
    there was one. Of a cold body the key is gone, and archives delete what it had encrypted. The consolidated episode
    that has words of it is gone as well; the other sources of that one stay.

    `agent_id`: only of this agent. `run_id`: the run that asks for it.

    Raises EpisodeNotFoundError, EpisodeHeldError (a legal hold), EpisodeInvalidError.
    """
    why = _reason(reason, "reason")
    await links.lock_around(session, id_)
    found = await store.get(session, id_, lock=True)
    if found is None or (agent_id is not None and found[0].agent_id != agent_id):
        raise EpisodeNotFoundError(str(id_))
    episode, agent = found
    await policy_store.lock(session, episode.agent_id)
    rules = await rules_of(session, episode.agent_id)
    if rules.legal_hold:
        raise EpisodeHeldError(agent, rules.hold_reason)
    gone_with_it = await links.dissolve(session, id_)
    cold_object_id = await _uncount(session, id_, Tier(episode.storage_tier))
    await policy_store.bury(session, episode, reason=why, by=by, cold_object_id=cold_object_id)
    gone = {"episode_id": str(id_), "segments": episode.segments, "bytes": episode.bytes, "source": episode.source}
    gone |= {"consolidated": str(gone_with_it)} if gone_with_it else {}
    await audit_book.record(
        session,
        actor=by,
        action="memory",
        decision="forgotten",
        reason=why,
        agent_id=episode.agent_id,
        run_id=run_id,
        data=gone,
    )
    log.info("memory.episode_forgotten", episode_id=str(id_), agent_id=str(episode.agent_id), by=by)


async def pending(session: AsyncSession, id_: UUID) -> bool:
    """Whether what was forgotten still has encrypted bytes in the cold store; their key is gone."""
    return await policy_store.pending(session, id_)


async def _uncount(session: AsyncSession, id_: UUID, tier: Tier) -> UUID | None:
    """Takes it out of the tally. Returns the object of the cold store that its body lies in."""
    [locked] = await tier_store.lock(session, [id_], tier)
    sizes = {Tier.HOT: locked.bytes, Tier.WARM: locked.stored}
    if tier is not Tier.COLD:
        await tier_store.count(session, locked, tier, sizes[tier], -1)
        return None
    object_id, size = (await archive_store.cold_sizes(session, [id_]))[id_]
    await tier_store.count(session, locked, tier, size, -1)
    await archive_store.count_forgotten(session, object_id)
    return object_id


def _rules(row: MemoryPolicy | None) -> Rules:
    if row is None:
        return Rules()
    return Rules(row.decay_days, row.retention_days, row.legal_hold, row.hold_reason)


def _reason(given: str, field: str) -> str:
    reason = clean(given.strip())
    if not 0 < len(reason) <= MAX_REASON:
        raise EpisodeInvalidError(f"{field}: 1 to {MAX_REASON} characters are needed.", field=field)
    return reason
