"""Skills as a rule beside the table: whether an agent may run this one, and by which risk the call is judged."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from atom.agents.models import Agent
from atom.errors import AtomError
from atom.governance.decide import Reason, Spoken
from atom.governance.models import Action, Verdict
from atom.governance.wish import Wish
from atom.skills.execution.orders import Order
from atom.skills.execution.permission import allowed
from atom.skills.registry.using import Use

RUN_SKILL, RUN_ONLINE_SKILL = "run_skill", "run_online_skill"
ONLINE = {RUN_SKILL: False, RUN_ONLINE_SKILL: True}


@dataclass(frozen=True, slots=True)
class SkillSpeaker:
    """A call is judged by the risk of the content that is in use now. Execution asks the same again."""

    use: Use

    async def speak(self, session: AsyncSession, agent: Agent, action: Action, wish: Wish) -> Sequence[Spoken]:
        if action.name not in ONLINE:
            return ()
        name, version = str(wish.arguments.get("skill", "")), str(wish.arguments.get("version", ""))
        order = Order(name, f"agent:{agent.name}", version=version, agent=agent.name, online=ONLINE[action.name])
        try:
            usable = await allowed(session, self.use, order)
        except AtomError as error:
            return (Spoken(f"skill:{name[:64]}", Reason.SKILL, Verdict.DENY, detail=str(error)),)
        detail = f"its risk is {usable.risk.name.lower()}"
        return (Spoken(f"skill:{usable.name}", Reason.SKILL, risk=usable.risk, detail=detail),)
