"""What a text consists of, for the question whether a value comes from it. Pure.

Words are compared without case, numbers by value, dates by day; everything that can address somebody or something or
can hide bytes (addresses, names with digits, paths) only as a whole and as it is written.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul", "august aug",
            "september sep sept", "october oct", "november nov", "december dec",
        ),
        1,
    )
    for name in names.split()
}  # fmt: skip
_MONTH = "|".join(sorted(MONTHS, key=len, reverse=True))
ISO_DAY = re.compile(r"(?<![\w-])(\d{4})-(\d{1,2})-(\d{1,2})(?=$|[^\w-]|T\d)")
MONTH_DAY = re.compile(rf"\b({_MONTH})\.?\s+(\d{{1,2}})(?:st|nd|rd|th)?\b(?:,?\s+(\d{{4}})\b)?", re.IGNORECASE)
DAY_MONTH = re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?({_MONTH})\b(?:,?\s+(\d{{4}})\b)?", re.IGNORECASE)
TIME = re.compile(r"(?<![\w:.-])T?([01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?Z?(?![\w:])")
SPLIT = re.compile(r"[\s\"“”„`<>(){}\[\]|;]+|,(?!\d{3}(?!\d))|(?<!\d),")
EDGES = ".,;:!?'\u2019*#…=-\u2013\u2014~&/\\"
DIGITS = frozenset(Decimal(digit) for digit in range(10))
ORDINAL = re.compile(r"(\d{1,4})-?(?:st|nd|rd|th)", re.IGNORECASE)
AMOUNT = re.compile(r"[-+]?[$€£¥]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?[%€$£]?")
WORD = re.compile(r"[^\W\d_]+")
PLAIN = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
BOUND_BEFORE = re.compile(r"[\w@/+%.:=&?#~\\-]")
BOUND_AFTER = re.compile(r"(?::\d+:|[.,:;!?]?(?:$|[\s\"'“”\u2019`<>(){}\[\]|,;]))")
FUNCTION_WORDS = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "been", "but", "by", "can", "could", "do", "does", "for", "from",
    "had", "has", "have", "he", "her", "here", "hi", "hello", "his", "i", "i'm", "i've", "if", "in", "is", "it",
    "it's", "its", "let", "me", "my", "no", "not", "of", "on", "or", "our", "please", "she", "so", "some", "than",
    "thank", "thanks", "that", "that's", "the", "their", "them", "then", "there", "they", "this", "to", "too", "up",
    "us", "was", "we", "were", "what", "when", "where", "which", "who", "will", "with", "would", "yes", "you",
    "you've", "your", "dear", "best", "regards", "re",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Words:
    """`strong`: what can address or hide something. `days`: (year or 0, month, day). `times` of the day: how many."""

    plain: frozenset[str] = frozenset()
    strong: frozenset[str] = frozenset()
    numbers: frozenset[Decimal] = frozenset()
    days: frozenset[tuple[int, int, int]] = frozenset()
    times: int = 0


def words(text: str) -> Words:
    days = frozenset(_days(text))
    rest = ISO_DAY.sub(" ", text)
    times = len(TIME.findall(rest))
    plain, strong, numbers = set(), set(), set()
    for piece in SPLIT.split(TIME.sub(" ", rest)):
        chunk = _trimmed(piece)
        if not chunk:
            continue
        number = as_number(chunk)
        if number is not None:
            numbers.add(number)
        elif PLAIN.fullmatch(chunk):
            plain.add(chunk.casefold().replace("\u2019", "'"))
        else:
            strong.add(address(chunk))
    return Words(frozenset(plain), frozenset(strong), frozenset(numbers), days, times)


def address(chunk: str) -> str:
    """One spelling for what is the same place everywhere: the scheme, a last slash, the case of a mail address."""
    bare = re.sub(r"^(?:https?://|mailto:)", "", chunk, flags=re.IGNORECASE).rstrip("/")
    return bare.casefold() if "@" in bare and "/" not in bare else bare


def as_number(text: str) -> Decimal | None:
    """The number that a text is, however it is written: 1,200.00 is 1200, 2nd is 2."""
    ordinal = ORDINAL.fullmatch(text)
    text = ordinal.group(1) if ordinal else text
    if not AMOUNT.fullmatch(text) or len(text) > 40:
        return None
    try:
        return Decimal(re.sub(r"[^\d.-]", "", text)).normalize()
    except InvalidOperation:
        return None


def _trimmed(piece: str) -> str:
    if len(piece) > 1 and piece[0] in "+-$€£" and piece[1].isdigit():
        return piece.rstrip(EDGES)
    return piece.strip(EDGES)


def _days(text: str) -> Iterator[tuple[int, int, int]]:
    for year, month, day in ISO_DAY.findall(text):
        yield int(year), int(month), int(day)
    for month, day, year in MONTH_DAY.findall(text):
        yield int(year or 0), MONTHS[month.casefold()], int(day)
    for day, month, year in DAY_MONTH.findall(text):
        yield int(year or 0), MONTHS[month.casefold()], int(day)


@dataclass(slots=True)
class Vocabulary:
    """Everything that some texts say. It only ever grows."""

    texts: list[str] = field(default_factory=list)
    plain: set[str] = field(default_factory=set)
    strong: set[str] = field(default_factory=set)
    numbers: set[Decimal] = field(default_factory=set)
    days: set[tuple[int, int, int]] = field(default_factory=set)
    atoms: set[str] = field(default_factory=set)

    def add(self, text: str) -> None:
        if not text:
            return
        found = words(text)
        self.texts.append(text)
        self.plain |= found.plain
        for chunk in found.plain:
            self.plain.update(part.casefold() for part in WORD.findall(chunk))
        self.strong |= found.strong
        self.numbers |= found.numbers
        self.days |= found.days

    def says(self, value: str) -> bool:
        """Whether the whole of `value` stands in one of the texts, not inside something longer."""
        return any(_stands(value, text) for text in self.texts)

    def strangers(self, value: str, *, prose: bool, content: bool = False) -> list[str]:
        """What of `value` the texts do not have. `prose`: plain words may be any. `content`: it is free text, where one
        digit, such as a rank, says as little as one time of the day."""
        found = words(value)
        missing = sorted(chunk for chunk in found.strong if chunk not in self.strong and not self.says(chunk))
        fresh = sorted(found.numbers - self.numbers)
        missing += [] if content and len(fresh) == 1 and fresh[0] in DIGITS else [str(number) for number in fresh]
        missing += [f"{y:04}-{m:02}-{d:02}" for y, m, d in sorted(found.days) if not self._day(y, m, d)]
        if found.times > 1:  # one time of a day is one of 1,440; many are a code
            missing.append(f"{found.times} times of the day")
        if not prose:
            own = found.plain - FUNCTION_WORDS or found.strong or found.numbers or found.days
            free = FUNCTION_WORDS if own or content else frozenset()  # alone, "us" or "all" would be a target
            missing += sorted(word for word in found.plain if not self._word(word, free))
        return missing

    def _day(self, year: int, month: int, day: int) -> bool:
        """A text that names no year means any."""
        if year == 0:
            return any((m, d) == (month, day) for _, m, d in self.days)
        return (year, month, day) in self.days or (0, month, day) in self.days

    def _word(self, word: str, free: frozenset[str]) -> bool:
        parts = WORD.findall(word)
        return (
            word in self.plain
            or word in free
            or (len(parts) > 1 and all(part in self.plain or part in free for part in parts))
        )


def _stands(value: str, text: str) -> bool:
    if not value.strip():
        return True
    at = text.find(value)
    while at >= 0:
        end = at + len(value)
        before, after = text[at - 1] if at else "", text[end : end + 12]
        if not (before and BOUND_BEFORE.match(before)) and BOUND_AFTER.match(after):
            return True
        at = text.find(value, at + 1)
    return False
