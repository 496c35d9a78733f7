"""The ladder: what evidence makes an agent ready for the next maturity, and what takes the present one away. Pure.

Nothing here raises a maturity: `readiness` tells a person whether they may. The formulas are in the operator's page on
maturity.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from atom.governance.models import Maturity

Z = 1.959963984540054  # two-sided 95 %
# One violation among the fewest episodes that a promotion needs is enough to block it: with 4 it would not be.
VIOLATION_WEIGHT = 5
HYSTERESIS = 0.15  # how far below the floor of its promotion an agent stays what it is
MOST_RECENT = 50  # episodes; the most that any rule looks back


@dataclass(frozen=True, slots=True)
class Rung:
    """What the promotion to a maturity takes. Rates and bounds are shares."""

    episodes: int
    intervention_rate: float
    compliance: float
    success: float


RUNGS = {
    Maturity.INTERN: Rung(10, 0.50, 0.70, 0.55),
    Maturity.SUPERVISED: Rung(25, 0.20, 0.85, 0.70),
    Maturity.AUTONOMOUS: Rung(50, 0.00, 0.95, 0.85),
}


class CriterionName(StrEnum):
    EPISODES = "episodes"
    INTERVENTION_RATE = "intervention_rate"
    COMPLIANCE = "compliance"
    SUCCESS = "success"


@dataclass(frozen=True, slots=True)
class Tally:
    """What the evidence that counts adds up to.

    `judged`: runs with an outcome or an intervention; `intervened`: those of them in which a person stepped in.
    `newest`: scores of the last episodes, the newest first, at most MOST_RECENT.
    """

    episodes: int = 0
    successes: float = 0.0
    approved: int = 0
    edited: int = 0
    rejected: int = 0
    violations: int = 0
    judged: int = 0
    intervened: int = 0
    newest: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Criterion:
    """`value` is None when there is nothing to measure: then it is not met. `at_least`: else at most."""

    name: CriterionName
    value: float | None
    needed: float
    at_least: bool

    @property
    def met(self) -> bool:
        if self.value is None:
            return False
        return self.value >= self.needed if self.at_least else self.value <= self.needed


@dataclass(frozen=True, slots=True)
class Readiness:
    """`target`: the next maturity; None at the top, where there is nothing to be ready for."""

    maturity: Maturity
    target: Maturity | None
    criteria: tuple[Criterion, ...]

    @property
    def ready(self) -> bool:
        return self.target is not None and all(one.met for one in self.criteria)

    @property
    def unmet(self) -> tuple[Criterion, ...]:
        return tuple(one for one in self.criteria if not one.met)


def wilson_lower(successes: float, trials: float) -> float:
    """The lower end of Wilson's score interval: the success rate is at least this, at 95 % confidence. 0 of nothing."""
    if trials <= 0:
        return 0.0
    share = successes / trials
    spread = Z * math.sqrt(share * (1 - share) / trials + Z * Z / (4 * trials * trials))
    return max(0.0, (share + Z * Z / (2 * trials) - spread) / (1 + Z * Z / trials))


def intervention_rate(tally: Tally) -> float | None:
    return tally.intervened / tally.judged if tally.judged else None


def compliance(tally: Tally) -> float | None:
    """The share of evidence that is clean: a rejection weighs as much as an episode, a violation VIOLATION_WEIGHT.

    An edited approval is neither clean nor not: it counts as an intervention.
    """
    clean = tally.episodes + tally.approved
    whole = clean + tally.rejected + VIOLATION_WEIGHT * tally.violations
    return clean / whole if whole else None


def success(tally: Tally, episodes: int) -> float | None:
    """The lower of two bounds: over all that counts, and over the newest `episodes` of it.

    So neither a lucky row nor an old record is enough.
    """
    if not tally.episodes:
        return None
    newest = tally.newest[:episodes]
    return min(wilson_lower(tally.successes, tally.episodes), wilson_lower(sum(newest), len(newest)))


def readiness(maturity: Maturity, tally: Tally) -> Readiness:
    """Whether a person may promote an agent of this maturity. `tally`: evidence since its maturity last changed."""
    target = maturity.above
    if target is None:
        return Readiness(maturity, None, ())
    rung = RUNGS[target]
    return Readiness(
        maturity,
        target,
        (
            Criterion(CriterionName.EPISODES, tally.episodes, rung.episodes, at_least=True),
            Criterion(
                CriterionName.INTERVENTION_RATE, intervention_rate(tally), rung.intervention_rate, at_least=False
            ),
            Criterion(CriterionName.COMPLIANCE, compliance(tally), rung.compliance, at_least=True),
            Criterion(CriterionName.SUCCESS, success(tally, rung.episodes), rung.success, at_least=True),
        ),
    )


def standing_bound(maturity: Maturity, newest: Sequence[float]) -> float:
    """The bound that its maturity stands on: over as many of the newest episodes as its promotion took.

    Episodes that are not there yet count as successes: nobody is demoted for a lack of evidence.
    """
    rung = RUNGS[maturity]
    lost = sum(1 - score for score in newest[: rung.episodes])
    return wilson_lower(rung.episodes - lost, rung.episodes)


def keeps(maturity: Maturity, newest: Sequence[float]) -> bool:
    """Whether an agent stays what it is. `newest`: scores since it last fell, the newest first.

    The floor lies HYSTERESIS below that of the promotion: evidence that allows one never takes it back.
    """
    if maturity is Maturity.STUDENT:
        return True
    return standing_bound(maturity, newest) >= RUNGS[maturity].success - HYSTERESIS
