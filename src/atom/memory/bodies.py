"""The texts of an episode, packed: one piece of bytes that unpacks to the same texts, or does not unpack at all."""

import json
from collections.abc import Sequence

from atom.kit import packing
from atom.kit.packing import NotWhatWasPackedError, Packed
from atom.memory.errors import BodyCorruptError

CODEC = "zstd"
MAX_UNPACKED = 1 << 30


def pack(texts: Sequence[str]) -> Packed:
    return packing.pack(json.dumps([*texts], ensure_ascii=False, separators=(",", ":")).encode())


def unpack(packed: Packed) -> list[str]:
    """Raises BodyCorruptError unless it is to the bit what was packed."""
    try:
        texts: list[str] = json.loads(packing.unpack(packed, most=MAX_UNPACKED))
    except NotWhatWasPackedError as error:
        raise BodyCorruptError(str(error)) from error
    return texts
