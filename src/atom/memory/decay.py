"""How memories fade: the one formula that recall, lists and consolidation go by. Pure, and the same again in SQL.

The forgetting curve is that of FSRS-4.5 (https://github.com/open-spaced-repetition/fsrs4anki/wiki/The-Algorithm):
R(t, S) = (1 + 19/81 t/S)^-0.5, written for the half-life H = 81/19 * 3 * S instead of the stability S at 90 %. It is a
power and not an exponential: what is old fades ever more slowly, and never quite.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Float, cast, func

from atom.memory.models import Episode

CURVE = 3.0  # 1 + 3 is 4, whose root is 2: half at the half-life
MOST_ACCESSES = 1_000
DAY = 86_400


def half_life(days: float, *, importance: float, feedback: float, accesses: int) -> float:
    """Days until recall is half as likely. `days`: of an episode of middling importance that nobody recalled.

    The square root of the recalls (at most a thousand count), half to one and a half for the importance (0 to 1), and
    half to double for what people said of it (-1 to 1) are multiplied with it.
    """
    return float(days * (1 + min(accesses, MOST_ACCESSES)) ** 0.5 * (0.5 + importance) * 2**feedback)


def retrievability(now: datetime, ended_at: datetime, half_life_days: float) -> float:
    """0 to 1: how likely it is to be remembered. What ends in the future is as if it ended now."""
    days = max(0.0, (now - ended_at).total_seconds() / DAY)
    return float((1 + CURVE * days / half_life_days) ** -0.5)


def faded(days: ColumnElement[Any]) -> ColumnElement[Any]:
    """In SQL, of an episode's row: how many half-lives it is old. It puts episodes in the order of their
    retrievability, backwards. `days` as in `half_life`."""
    ended_at = func.coalesce(Episode.ended_at, Episode.started_at)
    age = func.greatest(func.extract("epoch", func.now() - ended_at), 0.0) / DAY
    recalled = func.sqrt(1 + func.least(cast(Episode.access_count, Float(53)), MOST_ACCESSES))
    praised = func.power(2.0, func.coalesce(Episode.feedback, 0.0))
    return age / (days * recalled * (0.5 + Episode.importance) * praised)
