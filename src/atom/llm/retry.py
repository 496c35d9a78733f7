"""When a failed model call is tried again. Pure."""

FIRST_BACKOFF = 0.5
LONGEST_BACKOFF = 8.0
MOST_WAITING = 10.0  # seconds of one call in all: a wait holds a worker, a run that is parked holds nothing


def backoff(round_: int, jitter: float) -> float:
    """Full jitter over a growing bound. `round_` counts from 1, `jitter` is random in [0, 1)."""
    return jitter * min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(round_ - 1, 10))


def in_call_wait(blocked: float, pause: float, *, left: float) -> float | None:
    """Seconds until the next try; None where that is more than is `left`. `blocked` is never undercut: it may be what
    the provider asked for."""
    wait = max(blocked, pause)
    return wait if wait <= left else None
