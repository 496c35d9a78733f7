"""Rows of 32-bit floats as bytes: what embedders return and caches store, without a numeric library."""

import array
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import mul

FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Vectors:
    """Row-major little-endian float32. `len()` is the number of rows."""

    data: bytes
    dimensions: int

    def __post_init__(self) -> None:
        if self.dimensions < 1 or len(self.data) % (self.dimensions * FLOAT_BYTES):
            raise ValueError(f"{len(self.data)} bytes are not whole rows of {self.dimensions} floats.")

    def __len__(self) -> int:
        return len(self.data) // (self.dimensions * FLOAT_BYTES)

    @classmethod
    def of(cls, rows: Iterable[Sequence[float]], dimensions: int) -> "Vectors":
        flat = array.array("f")
        for row in rows:
            flat.extend(row)
        if sys.byteorder == "big":
            flat.byteswap()
        return cls(flat.tobytes(), dimensions)

    def rows(self) -> list[list[float]]:
        flat = array.array("f")
        flat.frombytes(self.data)
        if sys.byteorder == "big":
            flat.byteswap()
        return [flat[start : start + self.dimensions].tolist() for start in range(0, len(flat), self.dimensions)]

    def first(self, count: int) -> "Vectors":
        return Vectors(self.data[: count * self.dimensions * FLOAT_BYTES], self.dimensions)

    def joined(self, more: "Vectors") -> "Vectors":
        if more.dimensions != self.dimensions:
            raise ValueError(f"Rows of {more.dimensions} floats cannot follow rows of {self.dimensions}.")
        return Vectors(self.data + more.data, self.dimensions)


def dot_products(query: Vectors, rows: Vectors) -> list[float]:
    """Cosines of vectors of length one. For fakes and small sets: an embedder does it faster."""
    [first] = query.first(1).rows()
    return [sum(map(mul, first, row)) for row in rows.rows()]
