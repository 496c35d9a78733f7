"""Which skills an agent is told of when it begins: few, chosen by the task, kept with the run, the same in a replay."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from atom.errors import AtomError
from atom.kit.text import clean_json
from atom.skills.catalogue import Catalogue, Entry
from atom.tools.skills import FIND_SKILLS, READ_SKILL, line_of

ALL = 12  # so many are all named; of more than these, the best for the task
BEST = 8
SECONDS = 5.0
QUERY_CHARS = 2_000
log = structlog.get_logger(service="agent_execution")


@dataclass(frozen=True, slots=True)
class Offer:
    """`text` is what the model reads. `skills` names what is in it; `others`: how many more there are."""

    text: str
    skills: tuple[str, ...]
    others: int = 0


@dataclass(frozen=True, slots=True)
class Offering:
    """Bounded in time; without it a run begins all the same, and the agent can still look for skills."""

    catalogue: Catalogue

    async def at_start(self, agent_id: str, tools: Sequence[str], task: str) -> Offer | None:
        """None: the agent was not given the tool that reads skills, or may use none."""
        if READ_SKILL not in tools:
            return None
        try:
            async with asyncio.timeout(SECONDS):
                every = await self.catalogue.of(agent_id)
                few = len(every) <= ALL
                named = every if few else await self.catalogue.rank(every, task[:QUERY_CHARS], BEST)
        except (AtomError, TimeoutError) as error:
            code = error.code if isinstance(error, AtomError) else "timeout"
            log.warning("skills.not_offered", error_code=code)
            return None
        return offer(named, len(every) - len(named), searchable=FIND_SKILLS in tools)


def offer(named: Sequence[Entry], others: int, *, searchable: bool) -> Offer | None:
    if not named and not others:
        return None
    rows = ["Skills that people have approved for you. Read one with read_skill before you do what it is for:"]
    rows += [line_of(one) for one in named]
    if others:
        rows.append(f"{others} more: find_skills finds them." if searchable else f"{others} more are not named here.")
    return Offer("\n".join(rows), tuple(one.name for one in named), others)


def to_json(one: Offer | None) -> dict[str, Any] | None:
    if one is None:
        return None
    document: dict[str, Any] = clean_json({"text": one.text, "skills": list(one.skills), "others": one.others})
    return document


def from_json(value: Mapping[str, Any] | None) -> Offer | None:
    return None if value is None else Offer(value["text"], tuple(value["skills"]), value["others"])
