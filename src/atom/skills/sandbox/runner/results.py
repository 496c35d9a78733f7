"""Whether a result can be that of a program that was run so: a runner may be somebody else's by now. Pure."""

import math
from collections.abc import Iterator

from atom.skills.sandbox.models import MAX_NAME, RESERVED, Limits, Result, Spec, is_plain

SPARE = 1 << 20  # bytes: what a stream holds more than its limit when its program is ended
LARGEST = 1 << 63
MOST_ENTRIES = 1_000  # of the output folder that were not taken, and of connections
WORDS = 4 << 20  # bytes of a message beside the files, the streams and the value
GROWTH = 8  # times: a number may be written with more digits than the program did


def most_bytes(limits: Limits) -> int:
    """What a message with the result of a program can have."""
    base64 = (limits.artefact_bytes + limits.output + 2 * SPARE) * 4 // 3
    return base64 + GROWTH * limits.output + WORDS


def wrong(result: Result, spec: Spec) -> str:
    """What no sandbox would say of it, in a few words; empty: nothing."""
    return next((why for why, found in _faults(result, spec) if found), "")


def _faults(result: Result, spec: Spec) -> Iterator[tuple[str, bool]]:
    limits, names = spec.limits, [one.name for one in result.artefacts]
    yield "it is of another execution", result.id != spec.id
    yield "its backend has no name", not (0 < len(result.backend) <= MAX_NAME and result.backend.isprintable())
    yield "its exit code", abs(result.exit_code or 0) >= 1 << 31
    yield "it printed more than it may", len(result.stdout) + len(result.stderr) > limits.output + 2 * SPARE
    yield "it has more files than it may", len(names) > limits.artefacts
    yield "one of its files is there twice", len(set(names)) != len(names)
    yield "the name of a file", not all(map(_is_below_output, names))
    yield "its files are too large", sum(len(one.body) for one in result.artefacts) > limits.artefact_bytes
    yield "it has too many entries", max(len(result.refused), len(result.connections)) > MOST_ENTRIES
    yield "a number", not all(map(_is_amount, _amounts(result)))
    yield "a number of its value", not _is_finite(result.value)


def _is_below_output(name: str) -> bool:
    """As `is_plain`; folders of an execution can be names in there."""
    return name in RESERVED or is_plain(name)


def _amounts(result: Result) -> Iterator[float]:
    usage = result.usage
    yield from (usage.cpu_seconds, usage.memory, usage.bytes, usage.seconds)
    for one in result.connections:
        yield from (one.port, one.count, one.sent, one.received)


def _is_amount(number: float) -> bool:
    return 0 <= number < LARGEST  # and no NaN


def _is_finite(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
