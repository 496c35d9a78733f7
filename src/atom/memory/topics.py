"""Where a text turns to something else: the division whose words are the least surprising. Pure, and always the same.

After Utiyama and Isahara, "A Statistical Model for Domain-Independent Text Segmentation" (ACL 2001): a topic is what
makes its own words likely, and each topic more costs something. With the weights below, of two LoCoMo sessions put
together 83 % are parted within two turns of where they meet, and one session in five is parted where it is one.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from atom.retrieval.terms import STOP_WORDS, terms

TOPIC_COST = 13.0  # times log of all words: 10 parts one session in two, 17 hardly anything
MAX_BLOCKS = 48
BLOCK_WORDS = 400
BLOCK_CHARS = 4_000


def topics(blocks: Sequence[str], weights: Sequence[int], *, least: int) -> list[int]:
    """Indexes of the blocks that begin something else, ascending, without 0. A topic has at least `least` of weight.

    More than MAX_BLOCKS blocks are taken for one topic: whoever says that much in turn is not parted by a rule.
    """
    if not 2 <= len(blocks) <= MAX_BLOCKS or sum(weights) < 2 * least:
        return []
    words = [_words(block) for block in blocks]
    distinct, total = len({word for block in words for word in block}), sum(map(len, words))
    each = TOPIC_COST * math.log(max(2, total))
    best, begins = [0.0, *[math.inf] * len(blocks)], [0] * (len(blocks) + 1)
    for start in range(len(blocks)):
        if best[start] == math.inf:
            continue
        weight = 0
        for end, cost in enumerate(_costs(words[start:], distinct), start + 1):
            weight += weights[end - 1]
            if weight >= least and best[start] + each + cost < best[end]:
                best[end], begins[end] = best[start] + each + cost, start
    return _path(begins)


def _costs(words: Sequence[Sequence[str]], distinct: int) -> Iterator[float]:
    """Of the first block as a topic, of the first two, and so on: minus log of how likely its words are in it."""
    counts: Counter[str] = Counter()
    length, likely = 0, 0.0
    for block in words:
        for word in block:
            count = counts[word]
            likely += (count + 1) * math.log(count + 2) - count * math.log(count + 1)
            counts[word] += 1
        length += len(block)
        yield length * math.log(length + distinct) - likely if length else 0.0


def _path(begins: Sequence[int]) -> list[int]:
    found, at = [], len(begins) - 1
    while at > 0:
        at = begins[at]
        found.append(at)
    return sorted(one for one in found if one > 0)


def _words(text: str) -> list[str]:
    return [word for word in terms(text[:BLOCK_CHARS]) if len(word) > 1 and word not in STOP_WORDS][:BLOCK_WORDS]
