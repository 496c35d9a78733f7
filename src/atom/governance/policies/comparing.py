"""The tests a rule may put to one argument. Each raises CannotTellError for a value of a type it is not made for."""

import math
from collections.abc import Sequence
from typing import Any

import re2

from atom.governance.policies.rules import CannotTellError, Test

MAX_PATTERN = 200
MAX_TEXT = 20_000  # the worst pattern of 200 characters takes 0.2 s for so many; a longer text counts as a match
MAX_MEMORY = 64 * 1024  # of a compiled pattern: `((a{100}){100})` is refused when the policy is applied

Number = int | float


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 is 1.0 and is not true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def equals(wanted: Any, *, negated: bool) -> Test:
    return lambda value: _comparable(value, [wanted]) is not negated


def within(wanted: Sequence[Any], *, negated: bool) -> Test:
    return lambda value: _comparable(value, wanted) is not negated


def greater(than: Number) -> Test:
    return lambda value: _number(value) > than


def less(than: Number) -> Test:
    return lambda value: _number(value) < than


def matches(pattern: str, *, negated: bool) -> Test:
    """RE2: its time grows with the text alone, whatever the pattern. Raises ValueError for one that is none."""
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"a pattern has at most {MAX_PATTERN} characters")
    options = re2.Options()
    options.max_mem, options.log_errors = MAX_MEMORY, False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        said = error.args[0].decode("utf-8", "replace") if error.args else ""
        raise ValueError(f"not a regular expression of RE2: {said}") from error

    def test(value: Any) -> bool:
        if not isinstance(value, str):
            raise CannotTellError("is not a text")
        if len(value) > MAX_TEXT:
            raise CannotTellError(f"has more than {MAX_TEXT} characters")
        return (compiled.search(value) is not None) is not negated

    return test


def _comparable(value: Any, wanted: Sequence[Any]) -> bool:
    """Whether it is one of them. A value of a type that none of them has cannot be compared."""
    if all(_kind(value) != _kind(one) for one in wanted):
        raise CannotTellError(f"is {_kind(value)}, not {' or '.join(sorted({_kind(one) for one in wanted}))}")
    return any(same(value, one) for one in wanted)


def _number(value: Any) -> Number:
    nan = isinstance(value, float) and math.isnan(value)
    if nan or isinstance(value, bool) or not isinstance(value, int | float):
        raise CannotTellError("is not a number")
    return value


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    names: dict[type, str] = {str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), "null")
