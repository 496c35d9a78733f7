"""Skills as a rule beside the table: whether an agent may run this one, and by which risk the call is judged."""

import posixpath
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent
from atom.errors import AtomError
from atom.governance.decide import Reason, Spoken
from atom.governance.models import Action, Label, Verdict
from atom.governance.wish import Wish
from atom.kit.text import clean
from atom.skills.execution.orders import Order
from atom.skills.execution.permission import allowed
from atom.skills.registry.using import Use

RUN_SKILL, RUN_ONLINE_SKILL = "run_skill", "run_online_skill"
FileLabels = Callable[[AsyncSession, UUID, Sequence[str]], Awaitable[Sequence[str]]]
ONLINE = {RUN_SKILL: False, RUN_ONLINE_SKILL: True}


@dataclass(frozen=True, slots=True)
class SkillSpeaker:
    """A call is judged by the risk of the content that is in use now. Execution asks the same again.

    `file_labels` of files in an agent's workspace: a script with hosts can send them out, though the run has not read
    them.
    """

    use: Use
    file_labels: FileLabels

    async def speak(self, session: AsyncSession, agent: Agent, action: Action, wish: Wish) -> Sequence[Spoken]:
        if action.name not in ONLINE:
            return ()
        name, version = str(wish.arguments.get("skill", "")), str(wish.arguments.get("version", ""))
        order = Order(name, f"agent:{agent.name}", version=version, agent=str(agent.id), online=ONLINE[action.name])
        try:
            usable = await allowed(session, self.use, order)
        except AtomError as error:
            return (Spoken(f"skill:{name[:64]}", Reason.SKILL, Verdict.DENY, detail=str(error)),)
        detail = f"its risk is {usable.risk.name.lower()}"
        spoken = Spoken(f"skill:{usable.name}", Reason.SKILL, risk=usable.risk, detail=detail)
        return (spoken, *await self._secret(session, agent, wish)) if ONLINE[action.name] else (spoken,)

    async def _secret(self, session: AsyncSession, agent: Agent, wish: Wish) -> Sequence[Spoken]:
        given = wish.arguments.get("files")
        named = [one for one in given if isinstance(one, str)] if isinstance(given, list) else []
        paths = [posixpath.normpath(clean(one)) for one in named]
        if not paths or Label.SECRET not in await self.file_labels(session, agent.id, paths):
            return ()
        detail = "argument files: a file of something secret would go to a script that reaches hosts"
        return (Spoken("taint:secret", Reason.TAINTED, Verdict.ASK, detail=detail),)
