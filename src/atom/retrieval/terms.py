"""Text into terms: what the lexical scores count. Pure."""

import itertools
import re
from collections.abc import Iterator, Sequence

MAX_TERM_CHARS = 64  # longer runs are hashes and base64: they would only fill memory
WORD = re.compile(r"[^\W_]+(?:_+[^\W_]+)*")
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

# Function words of English questions. Short on purpose: a word that names a thing must never be in here.
STOP_WORDS = frozenset(
    """a about after again all also am an and any are as at be been being but by can could did do does doing done for
    from get gets had has have how i if in into is it its just may me might more most must my no not of off on one only
    or our out over shall she should so some such than that the their them then there these they this those to too under
    up us very was we were what when where which while who whom why will with would you your""".split()  # noqa: SIM905 - a paragraph reads better than 150 quoted words
)
NUMBERS = {
    name: str(value)
    for value, name in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    )
}


def terms(text: str) -> list[str]:
    """Stemmed words; an identifier (`pool_size`, `poolSize`) gives itself and its parts."""
    return list(_terms(text, skipped=frozenset()))


def query_terms(text: str) -> list[str]:
    """The terms of a query without function words, each once, in order. All of them when nothing else is left."""
    return list(dict.fromkeys(_terms(text, skipped=STOP_WORDS))) or list(dict.fromkeys(terms(text)))


def _terms(text: str, skipped: frozenset[str]) -> Iterator[str]:
    for match in WORD.finditer(text):
        word = match.group()
        if len(word) > MAX_TERM_CHARS or word.lower() in skipped:
            continue
        if word.lower() in NUMBERS:
            yield NUMBERS[word.lower()]
            continue
        parts = [part for piece in word.split("_") if piece for part in CAMEL.split(piece)]
        if len(parts) > 1:
            yield word.lower()
        yield from (stem(part.lower()) for part in parts)


def bigrams(sequence: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Neighbouring pairs."""
    return itertools.pairwise(sequence)


def stem(word: str) -> str:
    """The S-stemmer of Harman (1991), which joins plurals, and `-ing`, `-ed` of words long enough to keep a root."""
    if not word.isascii() or len(word) < 4:
        return word
    for suffix in ("ing", "ed"):
        root = word.removesuffix(suffix)
        if root != word and len(root) >= 4:
            return root.removesuffix("e")
    if word.endswith("ies") and not word.endswith(("aies", "eies")):
        return word[:-3] + "y"
    if word.endswith("s") and not word.endswith(("us", "ss", "is")):
        word = word[:-1]
    return word.removesuffix("e") if len(word) > 4 else word
