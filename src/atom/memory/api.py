"""REST: episodes, their segments, and recall."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import AwareDatetime
from sqlalchemy.ext.asyncio import AsyncSession

from atom.errors import InvalidError
from atom.identity.guard import Guard, GuardedRoute
from atom.identity.models import Permission, Principal
from atom.infra.db import Sessions, unit_of_work
from atom.kit.pages import MAX_LIMIT, parse_cursor, to_page
from atom.memory import age_store
from atom.memory.correcting import correct
from atom.memory.drafts import Draft, Outcome, Source
from atom.memory.layer import MemoryLayer
from atom.memory.models import Episode, Tier
from atom.memory.recall import Question
from atom.memory.service import MemoryService
from atom.memory.store import Wanted
from atom.memory.wire import (
    CorrectionIn,
    EpisodeIn,
    EpisodeOut,
    EpisodePage,
    FeedbackIn,
    RecallIn,
    RecallOut,
    SegmentPage,
    StatsOut,
    WrittenOut,
    episode_out,
    recall_out,
    segment_out,
    stats_out,
)

MAX_EPISODE_BYTES = 8_000_000
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]


def routes(memory: MemoryLayer, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/episodes", tags=["episodes"], route_class=GuardedRoute)
    reader = Depends(guard.requires(Permission.MEMORY_READ))
    Writer = Annotated[Principal, Depends(guard.requires(Permission.MEMORY_WRITE))]  # noqa: N806 - a type
    service = memory.service

    @router.get("", dependencies=[reader])
    async def list_episodes(
        *,
        limit: Limit = 50,
        after: str | None = None,
        agent: str | None = None,
        outcome: Outcome | None = None,
        tier: Tier | None = None,
        source: Source | None = None,
        since: AwareDatetime | None = None,
        until: AwareDatetime | None = None,
    ) -> EpisodePage:
        """Newest first. `since` and `until` are of when episodes began."""
        cursor = parse_cursor(after)
        async with unit_of_work(sessions) as session:
            agent_id = (await service.agents.get(session, agent)).id if agent is not None else None
            wanted = Wanted(agent_id, outcome, tier, source, since, until)
            rows = await service.page(session, wanted, before=cursor, limit=limit + 1)
            page = to_page(rows, limit, lambda row: row[0].id)
            return EpisodePage(items=await _outs(service, session, page.items), next=page.next)

    @router.post("", status_code=201, max_body_size=MAX_EPISODE_BYTES)
    async def write_episode(body: EpisodeIn, by: Writer, response: Response) -> WrittenOut:
        """Remember something for an agent. 200 where the same `ref` was remembered before."""
        async with unit_of_work(sessions) as session:
            agent = await service.agents.get(session, body.agent)
            draft = _draft(body, agent.id, by)
            written = await service.record(session, draft)
        if not written.fresh:
            response.status_code = 200
        return WrittenOut(id=written.id, created=written.fresh)

    return router


def recall_routes(memory: MemoryLayer, sessions: Sessions, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/api/episodes", tags=["episodes"], route_class=GuardedRoute)
    reader = Depends(guard.requires(Permission.MEMORY_READ))
    Writer = Annotated[Principal, Depends(guard.requires(Permission.MEMORY_WRITE))]  # noqa: N806 - a type
    service = memory.service

    @router.get("/stats", dependencies=[reader])
    async def episode_stats(agent: str | None = None, *, ages: bool = False) -> StatsOut:
        """How much there is in each tier, of one agent or of all. `ages` looks at every episode."""
        async with unit_of_work(sessions) as session:
            agent_id = (await service.agents.get(session, agent)).id if agent is not None and ages else None
            found = await age_store.ages(session, agent_id) if ages else []
            return stats_out(await service.stats(session, agent), found)

    @router.post("/recall", dependencies=[reader])
    async def recall(body: RecallIn) -> RecallOut:
        """What an agent remembers, best first, each hit with its reasons. What it returns is data, with its labels."""
        async with unit_of_work(sessions) as session:
            agent = await service.agents.get(session, body.agent)
        question = Question(
            agent.id,
            body.query,
            body.mode,
            body.filters(),
            limit=body.limit,
            tokens=body.tokens,
            around=body.around,
            after=body.after,
        )
        return recall_out(await memory.recall.recall(question))

    @router.get("/{episode_id}", dependencies=[reader])
    async def show_episode(episode_id: UUID) -> EpisodeOut:
        async with unit_of_work(sessions) as session:
            return (await _outs(service, session, [await service.get(session, episode_id)]))[0]

    @router.get("/{episode_id}/segments", dependencies=[reader])
    async def list_segments(episode_id: UUID, limit: Limit = 50, after: str | None = None) -> SegmentPage:
        """Its turns in order, verbatim."""
        position = _position(after)
        rows = await memory.reading.segments(episode_id, after=position, limit=limit + 1)
        items = [segment_out(row) for row in rows[:limit]]
        return SegmentPage(items=items, next=str(items[-1].position) if len(rows) > limit else None)

    @router.post("/{episode_id}/feedback")
    async def rate_episode(episode_id: UUID, body: FeedbackIn, by: Writer) -> EpisodeOut:
        """What you think of it, -1 to 1: the last word counts, and moves its importance."""
        async with unit_of_work(sessions) as session:
            rated = await service.rate(session, by, episode_id, body.feedback, body.note)
            return (await _outs(service, session, [rated]))[0]

    @router.post("/{episode_id}/corrections")
    async def correct_episode(episode_id: UUID, body: CorrectionIn, by: Writer) -> EpisodeOut:
        """Say what was wrong with it: a turn at its end that recall finds. The same text said again changes nothing."""
        async with unit_of_work(sessions) as session:
            corrected = await correct(session, by, episode_id, body.correction(), service.written)
            return (await _outs(service, session, [corrected]))[0]

    return router


async def _outs(service: MemoryService, session: AsyncSession, rows: Sequence[tuple[Episode, str]]) -> list[EpisodeOut]:
    fading = await service.fading(session, [episode for episode, _ in rows])
    return [episode_out(episode, agent, fading[episode.id]) for episode, agent in rows]


def _draft(body: EpisodeIn, agent_id: UUID, by: Principal) -> Draft:
    return Draft(
        agent_id=agent_id,
        source=Source.IMPORT if body.imported else Source.API,
        turns=[turn.turn() for turn in body.turns],
        created_by=by.actor,
        labels=frozenset(body.labels),
        outcome=body.outcome,
        title=body.title,
        summary=body.summary,
        importance=body.importance,
        ref=body.ref,
        provenance={"by": by.actor, **body.provenance},
    )


def _position(after: str | None) -> int:
    """Raises InvalidError for what is no cursor of a list of segments."""
    if after is None:
        return -1
    if not after.isascii() or not after.isdecimal() or len(after) > 9:
        raise InvalidError(
            "after: this is not a cursor.", hint="Take the value of `next` of the page before.", field="after"
        )
    return int(after)
