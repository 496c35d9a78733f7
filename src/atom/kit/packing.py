"""Bytes packed with zstandard: they unpack to what was packed, to the bit, or not at all."""

import hashlib
from dataclasses import dataclass

import zstandard

LEVEL = 9  # of 22: a tenth larger than what level 19 makes of chat, in a twentieth of its time


class NotWhatWasPackedError(Exception):
    """Why it is not taken, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Packed:
    """`sha256` and `unpacked` (bytes) are of what was packed."""

    body: bytes
    sha256: bytes
    unpacked: int


def pack(raw: bytes) -> Packed:
    return Packed(zstandard.ZstdCompressor(level=LEVEL).compress(raw), hashlib.sha256(raw).digest(), len(raw))


def unpack(packed: Packed, *, most: int) -> bytes:
    """Takes no more than `most` bytes of memory for it. Raises NotWhatWasPackedError."""
    if not 0 <= packed.unpacked <= most:
        raise NotWhatWasPackedError(f"it says that it unpacks to {packed.unpacked} bytes.")
    try:
        if zstandard.frame_content_size(packed.body) != packed.unpacked:  # it decides how much memory is taken
            raise NotWhatWasPackedError("its header is not that of what was packed.")
        raw = zstandard.ZstdDecompressor().decompress(packed.body, max_output_size=packed.unpacked)
    except zstandard.ZstdError as error:
        raise NotWhatWasPackedError(f"it does not unpack ({error}).") from error
    if hashlib.sha256(raw).digest() != packed.sha256:
        raise NotWhatWasPackedError("what it unpacks to is not what was packed (SHA-256).")
    return raw
