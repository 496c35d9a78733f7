"""Which old episodes belong together. Pure, and always the same for the same episodes."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import mul
from uuid import UUID

MAX_GROUP = 12
MAX_BYTES = 16_000_000  # of the texts of a group: they are packed in one transaction
MAX_SEGMENTS = 5_000
NEAR = 0.55  # cosine of the mean vectors
ALIKE = 0.25  # cosine of the words, rare ones weighing more


@dataclass(frozen=True, slots=True)
class Item:
    """An episode to be grouped. `vector`: mean of its segments' vectors, of length 1. `words`: how often each lexeme
    is in it."""

    id: UUID
    bytes: int
    segments: int
    vector: tuple[float, ...] | None = None
    words: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """`near`: how near the farthest member is to the first, 0 to 1. A group of one is like no other."""

    ids: tuple[UUID, ...]
    near: float


def grouped(items: Sequence[Item]) -> list[Group]:
    """Each item in exactly one group. In their order each that is left takes to itself what is nearest to it, as far
    as it is near enough and the bounds allow. Two with vectors are compared by these, else by words."""
    weighed = _weighed(items)
    left = dict.fromkeys(range(len(items)))
    groups = []
    while left:
        seed = next(iter(left))
        del left[seed]
        near = sorted(_near(seed, left, items, weighed), key=lambda found: (-found[0], items[found[1]].id))
        members, size, segments, farthest = [seed], items[seed].bytes, items[seed].segments, 1.0
        for closeness, other in near:
            if len(members) == MAX_GROUP:
                break
            if size + items[other].bytes > MAX_BYTES or segments + items[other].segments > MAX_SEGMENTS:
                continue
            members.append(other)
            size, segments = size + items[other].bytes, segments + items[other].segments
            farthest = closeness
            del left[other]
        groups.append(Group(tuple(items[one].id for one in members), round(farthest, 4)))
    return groups


def unit(vector: Sequence[float]) -> tuple[float, ...] | None:
    """Of length 1; None for what has no direction."""
    length = math.sqrt(sum(map(mul, vector, vector)))
    return tuple(value / length for value in vector) if length else None


def _near(
    seed: int, left: Mapping[int, None], items: Sequence[Item], weighed: Sequence[Mapping[str, float]]
) -> Iterator[tuple[float, int]]:
    mine = items[seed].vector
    for other in left:
        theirs = items[other].vector
        if mine is not None and theirs is not None and len(mine) == len(theirs):
            closeness, least = sum(map(mul, mine, theirs)), NEAR
        else:
            closeness, least = _overlap(weighed[seed], weighed[other]), ALIKE
        if closeness >= least:
            yield min(1.0, closeness), other


def _weighed(items: Sequence[Item]) -> list[dict[str, float]]:
    """The words of each with their weights, of length 1."""
    holders = Counter(word for item in items for word in item.words)
    found = []
    for item in items:
        weights = {
            word: (1 + math.log(times)) * math.log(1 + len(items) / holders[word]) for word, times in item.words.items()
        }
        length = math.sqrt(sum(value * value for value in weights.values())) or 1.0
        found.append({word: value / length for word, value in weights.items()})
    return found


def _overlap(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    few, many = sorted((one, other), key=len)
    return sum(value * many.get(word, 0.0) for word, value in few.items())
