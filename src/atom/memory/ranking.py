"""Which segments answer a question best: two scores, what stands beside them, and the episode they are in. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atom.retrieval.fusion import min_max

NEIGHBOUR = (
    0.5  # with the two weights of LoCoMo, turn R@10 goes from 65.8 to 70.9: an answer stands beside its question
)
SESSION = 0.5
# Of what the question names itself. On LoCoMo the two take turn R@10 from 75.4 to 79.5, R@5 from 66.3 to 70.3.
SPEAKER = 0.2
TIME = 0.2
BEST_OF_SESSION = 3
FLOOR = 0.8  # a score keeps this share however old it is: a factor without a floor takes R@10 from 71 to 18
CHARS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Candidate:
    """`cosine` None: it has no vector. `eligible`: it may be an answer; others only say what stands beside one. Ids are
    texts here: a thousand of them are compared and looked up for each recall. `spoke`, `when`: by whom and at what time
    the question names."""

    id: str
    episode_id: str
    position: int
    lexical: float
    cosine: float | None
    eligible: bool
    strength: float = 1.0
    spoke: bool = False
    when: bool = False


@dataclass(frozen=True, slots=True)
class Why:
    """How a score came about. `lexical` is BM25; the others but `strength` as they were added: `speaker` and `time`
    where the question names the one who spoke, or the time."""

    lexical: float
    cosine: float | None
    neighbour: float
    session: float
    strength: float
    speaker: float = 0.0
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class Ranked:
    id: str
    episode_id: str
    score: float
    why: Why


def rank(candidates: Sequence[Candidate]) -> list[Ranked]:
    """The eligible ones, best first; ties go to the stronger memory."""
    base = _base(candidates)
    places = {(one.episode_id, one.position): score for one, score in zip(candidates, base, strict=True)}
    sessions = _sessions(candidates, base)
    found = []
    for one, own in zip(candidates, base, strict=True):
        if not one.eligible:
            continue
        beside = [places.get((one.episode_id, one.position + step), 0.0) for step in (-1, 1)]
        neighbour, session = NEIGHBOUR * max(beside), SESSION * sessions[one.episode_id]
        factor = FLOOR + (1 - FLOOR) * one.strength
        why = Why(one.lexical, one.cosine, neighbour, session, one.strength, SPEAKER * one.spoke, TIME * one.when)
        found.append(Ranked(one.id, one.episode_id, (own + neighbour + session) * factor, why))
    return sorted(found, key=lambda ranked: (-ranked.score, -ranked.why.strength, ranked.id))


def _base(candidates: Sequence[Candidate]) -> list[float]:
    named = [SPEAKER * one.spoke + TIME * one.when for one in candidates]
    return [own + more for own, more in zip(_similarity(candidates), named, strict=True)]


def _similarity(candidates: Sequence[Candidate]) -> list[float]:
    """Half words, half meaning; words alone where nothing has a vector."""
    lexical = min_max([one.lexical for one in candidates])
    known = [one.cosine for one in candidates if one.cosine is not None]
    if not known:
        return lexical
    lowest = min(known)
    cosine = min_max([lowest if one.cosine is None else one.cosine for one in candidates])
    return [(words + meaning) / 2 for words, meaning in zip(lexical, cosine, strict=True)]


def _sessions(candidates: Sequence[Candidate], base: Sequence[float]) -> Mapping[str, float]:
    """How good the best few segments of an episode are, stretched over 0 to 1."""
    scores: dict[str, list[float]] = defaultdict(list)
    for one, score in zip(candidates, base, strict=True):
        scores[one.episode_id].append(score)
    best = {id_: sorted(found, reverse=True)[:BEST_OF_SESSION] for id_, found in scores.items()}
    stretched = min_max([sum(found) / len(found) for found in best.values()])
    return dict(zip(best, stretched, strict=True))


def tokens_of(text: str) -> int:
    """An estimate, rather too many than too few."""
    return len(text) // CHARS_PER_TOKEN + 8
