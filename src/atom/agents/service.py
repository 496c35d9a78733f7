"""Agents: defined, changed (every change is a version), paused, retired."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents import store
from atom.agents.errors import (
    AgentExistsError,
    AgentInvalidError,
    AgentNotFoundError,
    AgentRetiredError,
    MaturityNotYoursError,
)
from atom.agents.models import Agent, AgentStatus, AgentVersion
from atom.agents.ports import MaturityBook, Unwritten
from atom.events.models import EventType
from atom.events.service import Outbox
from atom.identity.models import Permission, Principal
from atom.kit.ids import new_id, parse_id
from atom.kit.text import clean

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_INSTRUCTIONS = 50_000
MAX_RUNNING = 10_000
MATURITIES = ("student", "intern", "supervised", "autonomous")
FIRST_MATURITY = MATURITIES[0]
DEFAULT_INSTRUCTIONS = "You help with the files in your workspace. Use your tools, and say where each fact comes from."


@dataclass(frozen=True, slots=True)
class Changes:
    """What to change; None leaves as it is. `model` = "" and `max_running` = 0 take the preference away."""

    instructions: str | None = None
    tools: tuple[str, ...] | None = None
    model: str | None = None
    maturity: str | None = None
    max_running: int | None = None


@dataclass(frozen=True, slots=True)
class AgentService:
    """`tool_names` are the exact names that can be granted; `check_model` raises for a model that cannot be chosen.

    `book` keeps who set a maturity by hand.
    """

    outbox: Outbox
    tool_names: frozenset[str]
    check_model: Callable[[str], object] = field(repr=False)
    book: MaturityBook = field(default_factory=Unwritten, repr=False)

    async def create(self, session: AsyncSession, by: Principal, name: str, definition: Changes) -> Agent:
        if not NAME.fullmatch(name) or parse_id(name):
            raise AgentInvalidError(
                f"name: {name!r} cannot name an agent.",
                hint="1 to 64 of letters, digits, '.', '_' and '-', beginning with a letter or digit; not a UUID.",
                field="name",
            )
        self._check(definition, by)
        id_ = new_id()
        values = {
            "id": id_,
            "name": name,
            "instructions": clean(definition.instructions or DEFAULT_INSTRUCTIONS),
            "tools": list(definition.tools or ()),
            "model": definition.model or None,
            "maturity": definition.maturity or FIRST_MATURITY,
            "status": AgentStatus.ACTIVE.value,
            "version": 1,
            "max_running": definition.max_running or None,
        }
        if not await store.add(session, values):
            raise AgentExistsError(name)
        agent = await self.get(session, str(id_))
        await self._record(session, agent, by.actor, EventType.AGENT_CREATED)
        await self._set_by_hand(session, agent, FIRST_MATURITY, by)
        return agent

    async def get(self, session: AsyncSession, ref: str, *, lock: bool = False) -> Agent:
        """By id or by name. Raises AgentNotFoundError, also for what cannot be either."""
        id_ = parse_id(ref)
        agent = None
        if id_ is not None:
            agent = await store.by_id(session, id_, lock=lock)
        elif NAME.fullmatch(ref):
            agent = await store.by_name(session, ref, lock=lock)
        if agent is None:
            raise AgentNotFoundError(ref)
        return agent

    async def page(
        self, session: AsyncSession, *, status: AgentStatus | None, before: UUID | None, limit: int
    ) -> Sequence[Agent]:
        return await store.page(session, status=status and status.value, before=before, limit=limit)

    async def versions(
        self, session: AsyncSession, ref: str, *, below: int | None, limit: int
    ) -> Sequence[AgentVersion]:
        agent = await self.get(session, ref)
        return await store.versions(session, agent.id, below=below, limit=limit)

    async def at_version(self, session: AsyncSession, id_: UUID, number: int) -> AgentVersion:
        version = await store.version(session, id_, number)
        if version is None:
            raise AgentNotFoundError(f"{id_} version {number}")
        return version

    async def update(self, session: AsyncSession, by: Principal, ref: str, changes: Changes) -> Agent:
        self._check(changes, by)
        agent = await self.get(session, ref, lock=True)
        if agent.status == AgentStatus.RETIRED:
            raise AgentRetiredError(f"Agent {agent.name!r} is retired.", hint="Create a new one.")
        values: dict[str, object] = {}
        if changes.instructions is not None:
            values["instructions"] = clean(changes.instructions)
        if changes.tools is not None:
            values["tools"] = list(changes.tools)
        if changes.model is not None:
            values["model"] = changes.model or None
        if changes.maturity is not None:
            values["maturity"] = changes.maturity
        if changes.max_running is not None:
            values["max_running"] = changes.max_running or None
        before = agent.maturity
        saved = await self._save(session, agent, by.actor, values)
        await self._set_by_hand(session, saved, before, by)
        return saved

    async def set_maturity(
        self, session: AsyncSession, agent: Agent, by: str, *, maturity: str, classes: Mapping[str, str]
    ) -> Agent:
        """For governance alone, which keeps why. The caller has locked the agent. A new version, like every change."""
        assert maturity in MATURITIES
        return await self._save(session, agent, by, {"maturity": maturity, "class_maturity": dict(classes)})

    async def set_status(self, session: AsyncSession, by: Principal, ref: str, status: AgentStatus) -> Agent:
        """Pause, resume or retire; retiring is for good. Setting the status it has changes nothing."""
        agent = await self.get(session, ref, lock=True)
        if agent.status == status:
            return agent
        if agent.status == AgentStatus.RETIRED:
            raise AgentRetiredError(f"Agent {agent.name!r} is retired.", hint="Create a new one.")
        return await self._save(session, agent, by.actor, {"status": status.value})

    async def _set_by_hand(self, session: AsyncSession, agent: Agent, before: str, by: Principal) -> None:
        after = agent.maturity
        if after != before:
            await self.book.set_by_hand(
                session, agent.id, version=agent.version, before=before, after=after, by=by.actor
            )

    async def _save(self, session: AsyncSession, agent: Agent, by: str, values: dict[str, object]) -> Agent:
        if all(getattr(agent, name) == value for name, value in values.items()):
            return agent
        await store.save(session, agent.id, {"version": agent.version + 1, **values})
        saved = await self.get(session, str(agent.id))
        await self._record(session, saved, by, EventType.AGENT_CHANGED)
        return saved

    async def _record(self, session: AsyncSession, agent: Agent, by: str, type_: EventType) -> None:
        definition = describe(agent)
        await store.add_version(
            session,
            {"agent_id": agent.id, "version": agent.version, "definition": definition, "changed_by": by},
        )
        data = {key: value for key, value in definition.items() if key != "instructions"} | {"version": agent.version}
        await self.outbox.emit(session, type_, actor=by, agent_id=agent.id, data=data)

    def _check(self, changes: Changes, by: Principal) -> None:
        if changes.instructions is not None and len(changes.instructions) > MAX_INSTRUCTIONS:
            raise AgentInvalidError(
                f"instructions: {len(changes.instructions)} characters; at most {MAX_INSTRUCTIONS}.",
                field="instructions",
            )
        unknown = sorted(set(changes.tools or ()) - self.tool_names)
        if unknown:
            known = ", ".join(sorted(self.tool_names))
            raise AgentInvalidError(
                f"tools: there is no tool {unknown[0]!r}.", hint=f"There are: {known}.", field="tools"
            )
        if changes.model:
            self.check_model(changes.model)
        if changes.maturity is not None and changes.maturity not in MATURITIES:
            raise AgentInvalidError(
                f"maturity: {changes.maturity!r} is not a maturity.",
                hint=f"One of {', '.join(MATURITIES)}.",
                field="maturity",
            )
        if changes.max_running is not None and not 0 <= changes.max_running <= MAX_RUNNING:
            raise AgentInvalidError(
                f"max_running: {changes.max_running} is not possible.",
                hint=f"1 to {MAX_RUNNING}, or 0 for the deployment's own limit.",
                field="max_running",
            )
        if changes.maturity not in {None, FIRST_MATURITY} and not by.may(Permission.AGENTS_ADMIN):
            raise MaturityNotYoursError("Only an admin gives a maturity other than student.")


def describe(agent: Agent) -> dict[str, object]:
    """The definition as a version keeps it."""
    return {
        "name": agent.name,
        "instructions": agent.instructions,
        "tools": list(agent.tools),
        "model": agent.model,
        "maturity": agent.maturity,
        "class_maturity": dict(agent.class_maturity),
        "status": agent.status,
        "max_running": agent.max_running,
    }
