"""When a failed model call is tried again. Pure."""

from atom.llm.errors import ModelError

FIRST_BACKOFF = 0.5
LONGEST_BACKOFF = 8.0
LEAST_LEFT = 0.5  # seconds: with less left of the whole bound, another try only costs tokens


def wait_before_next(error: ModelError, *, attempt: int, left: float, jitter: float) -> float | None:
    """Seconds until the next try, None when there is none. `left` of the whole bound; `jitter` is random in [0, 1).

    A provider's Retry-After is waited out in full or, where the bound is shorter, not at all: never undercut.
    """
    if not error.failover:
        return None
    wait = jitter * min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** (attempt - 1))
    if error.retry_after is not None:
        wait = error.retry_after + min(wait, 1.0)
    return wait if wait + LEAST_LEFT <= left else None
