"""What a run starts from, read from the database; and what it has read, for whoever asks about it from outside."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import AgentVersion
from atom.agents.service import AgentService
from atom.governance.taint import Reading
from atom.governance.taint_speaker import TaintSpeaker
from atom.runs import store
from atom.runs.journal import MAX_STEPS, read
from atom.runs.models import Run
from atom.runs.offering import from_json as from_offered
from atom.runs.options import from_json
from atom.runs.provenance import from_columns
from atom.runs.reading import reading_of
from atom.runs.recalling import from_json as from_recalled
from atom.runs.transcript import Brief, exchanges

HISTORY_RUNS = 20


async def brief_of(session: AsyncSession, run: Run, version: AgentVersion, above: Sequence[UUID]) -> Brief:
    """`above`: the runs that this one works for, nearest first."""
    earlier = await store.in_conversation(session, run.conversation_id, before=run.id, limit=HISTORY_RUNS)
    return Brief(
        instructions=str(version.definition["instructions"]),
        history=tuple(exchanges(run, earlier)),
        task=run.task,
        files=tuple(run.files),
        options=from_json(run.options),
        origin=from_columns(run.origin_labels, run.origin_said),
        vouching=tuple(await store.said_tasks(session, above)),
        recalled=from_recalled(run.recalled),
        offered=from_offered(run.offered),
    )


def taint_speaker(agents: AgentService) -> TaintSpeaker:
    return TaintSpeaker(JournalReadings(agents))


@dataclass(frozen=True, slots=True)
class JournalReadings:
    """The port `Readings` of governance."""

    agents: AgentService

    async def of_run(self, session: AsyncSession, run_id: UUID) -> Reading | None:
        run = await store.get(session, run_id)
        if run is None:
            return None
        version = await self.agents.at_version(session, run.agent_id, run.agent_version)
        above = [id_ for id_, _ in await store.lineage(session, run.id)][1:] if run.parent_id else []
        brief = await brief_of(session, run, version, above)
        return reading_of(brief, read(await store.steps(session, run_id, limit=MAX_STEPS)).recorded)
