"""One log line for an outage of a dependency, not a flood: when it begins, and when it ends with a count."""

from dataclasses import dataclass
from typing import Any

import structlog


@dataclass(slots=True)
class Outage:
    """`began_event` and `ended_event` are the exact messages that operators grep for."""

    service: str
    began_event: str
    ended_event: str
    failures: int = 0

    def began(self, error: BaseException) -> None:
        self.failures += 1
        if self.failures == 1:
            self._log().error(self.began_event, error_code="connection_failed", error_type=type(error).__name__)

    def ended(self) -> None:
        if self.failures:
            self._log().info(self.ended_event, failures=self.failures)
            self.failures = 0

    def _log(self) -> Any:
        return structlog.get_logger().bind(service=self.service)


def database_outage() -> Outage:
    return Outage("database", "database connection failed", "database connection restored")
