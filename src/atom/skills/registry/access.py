"""Who may use a skill. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from atom.governance.models import Maturity, Risk

MAX_AGENTS = 200


@dataclass(frozen=True, slots=True)
class Access:
    """`agents`: their names, None for all. `highest_risk`: a version of more is not used."""

    agents: Sequence[str] | None = None
    lowest_maturity: Maturity = Maturity.SUPERVISED
    highest_risk: Risk = Risk.CRITICAL


FIRST = Access()
"""Of a skill that nobody has said more about. Governance judges each use by its risk besides."""


class Refusal(StrEnum):
    NOT_ACTIVE = "not_active"
    AGENT = "agent"
    MATURITY = "maturity"
    RISK = "risk"


def refusal(access: Access, *, agent: str, maturity: Maturity, risk: Risk) -> Refusal | None:
    """Why an agent may not use a version of `risk`; None: it may."""
    if access.agents is not None and agent not in access.agents:
        return Refusal.AGENT
    if maturity.rank < access.lowest_maturity.rank:
        return Refusal.MATURITY
    return Refusal.RISK if risk > access.highest_risk else None
