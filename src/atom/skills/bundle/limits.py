"""How much a bundle may be."""

from dataclasses import dataclass

MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Counted while unpacking; what headers say is never believed."""

    files: int = 500
    members: int = 2000  # with folders, and with what is left out
    unpacked_bytes: int = 20 * MB
    packed_bytes: int = 20 * MB
    ratio: int = 100
    ratio_from: int = 64 * 1024  # below, the padding of a small tar alone is a ratio of over 100
    depth: int = 20
    path_bytes: int = 1024
    name_bytes: int = 255


LIMITS = Limits()
