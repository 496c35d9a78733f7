"""Which kind of line answers which kind of question. Pure."""

import re
from enum import StrEnum

from atom.retrieval.lines import LineKind, LogicalLine

FIT = 1.3  # with it 20 of 20 questions on the guide find their line, without it 9
COMMAND_WORDS = re.compile(
    r"\bhow (?:do|does|did|can|could|should|would|to|may)\b|\b(?:commands?|endpoint)\b"
    r"|\bwhat (?:do|can|should) (?:i|we) (?:do|run|type|call)\b",
    re.IGNORECASE,
)
VALUE_WORDS = re.compile(
    r"\bhow (?:many|much|long|large|big|small|often|old|high|low|fast|far)\b|\b(?:size|limit|timeout|threshold|number"
    r"|value|port|rate|seconds|minutes|hours|days|target|default|maximum|minimum|setting|variable|percentage)\b",
    re.IGNORECASE,
)
DIGIT = re.compile(r"\d")


class Wanted(StrEnum):
    COMMAND = "command"
    VALUE = "value"


def wanted(query: str) -> frozenset[Wanted]:
    """What a question asks for. Empty for bare keywords: then no kind of line is better than another."""
    found = set()
    if COMMAND_WORDS.search(query):
        found.add(Wanted.COMMAND)
    if VALUE_WORDS.search(query):
        found.add(Wanted.VALUE)
    return frozenset(found)


def fitness(wants: frozenset[Wanted], line: LogicalLine) -> float:
    """What to multiply a line's score by: more when its kind fits, less when it only announces other lines."""
    factor = FIT if _fits(wants, line) else 1.0
    if line.announces or (Wanted.COMMAND in wants and line.kind is LineKind.COMMENT):
        factor /= FIT
    return factor


def _fits(wants: frozenset[Wanted], line: LogicalLine) -> bool:
    if Wanted.COMMAND in wants and line.kind is LineKind.COMMAND:
        return True
    if Wanted.VALUE not in wants or line.kind in {LineKind.HEADING, LineKind.CODE}:
        return False
    return line.kind is LineKind.SETTING or DIGIT.search(line.text) is not None
