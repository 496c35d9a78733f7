"""What one execution may take of the proxy."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """Times are seconds. `at_once`, `waiting` (for their turn) and `connections` (in all) count the program's
    connections, whatever comes of them."""

    at_once: int = 32
    waiting: int = 96
    connections: int = 1000
    head_bytes: int = 16_384
    head_seconds: float = 10.0  # for a whole request head, or a whole TLS greeting
    connect_seconds: float = 10.0  # to find the host and reach it
    idle_seconds: float = 60.0  # without a byte in either direction
    seconds: float = 3600.0  # of one connection
