"""From bytes of a text's UTF-8 to its characters."""

from collections.abc import Sequence
from dataclasses import dataclass

STEP = 4096


@dataclass(frozen=True, slots=True)
class Offsets:
    """`before`: how many characters begin before each 4096th byte: counting from the start is quadratic."""

    data: bytes
    before: Sequence[int]

    @classmethod
    def of(cls, data: bytes) -> "Offsets":
        before = [0]
        for start in range(0, len(data), STEP):
            before.append(before[-1] + _characters(data[start : start + STEP]))
        return cls(data, before)

    def character(self, byte: int) -> int:
        step = byte // STEP
        return self.before[step] + _characters(self.data[step * STEP : byte])

    def text(self, start: int, end: int) -> str:
        return self.data[start:end].decode("utf-8", "replace")


def _characters(data: bytes) -> int:
    """That begin in it: bytes that continue one are none."""
    return len(data) if data.isascii() else sum(byte & 0xC0 != 0x80 for byte in data)
