"""What may fail a thousand times a second is told in few log lines, with a count."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

QUIET_SECONDS = 5.0  # a dependency that comes and goes is told this often at most
REPEAT_SECONDS = 60.0


@dataclass(slots=True)
class Outage:
    """One line when a dependency is lost, one when it is back, with the number of failures in between.

    `began_event` and `ended_event` are the exact messages that operators grep for.
    """

    service: str
    began_event: str
    ended_event: str
    failures: int = 0
    now: Callable[[], float] = time.monotonic
    _told: bool = field(default=False, init=False)
    _told_at: float = field(default=float("-inf"), init=False)

    def began(self, error: BaseException) -> None:
        self.failures += 1
        if self._told or self.now() - self._told_at < QUIET_SECONDS:
            return
        self._told, self._told_at = True, self.now()
        _log(self.service).error(self.began_event, error_code="connection_failed", error_type=type(error).__name__)

    def ended(self) -> None:
        if self._told:
            _log(self.service).info(self.ended_event, failures=self.failures)
        self.failures, self._told = 0, False


@dataclass(slots=True)
class Repeated:
    """A refusal that has no clear end: one line a minute for each code, with how often it happened since the last."""

    service: str
    now: Callable[[], float] = time.monotonic
    _told_at: dict[str, float] = field(default_factory=dict, init=False)
    _since: dict[str, int] = field(default_factory=dict, init=False)

    def warn(self, event: str, code: str, error: BaseException) -> None:
        """`event` is a constant. The codes are few and known."""
        self._since[code] = self._since.get(code, 0) + 1
        if self.now() - self._told_at.get(code, float("-inf")) < REPEAT_SECONDS:
            return
        self._told_at[code] = self.now()
        times = self._since.pop(code)
        _log(self.service).warning(event, error_code=code, error_type=type(error).__name__, times=times)


def database_outage() -> Outage:
    return Outage("database", "database connection failed", "database connection restored")


def _log(service: str) -> structlog.typing.FilteringBoundLogger:
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind(service=service)
    return logger
