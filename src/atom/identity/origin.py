"""Host and Origin of a request: only names this deployment answers to, only pages it trusts."""

import re
from dataclasses import dataclass

from starlette.requests import HTTPConnection

from atom.errors import ForbiddenError, InvalidError

HOST = re.compile(
    r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::(?P<port>[0-9]{1,5}))?", re.IGNORECASE
)
ANY = "*"


class HostRefusedError(InvalidError):
    code = "host_refused"


class OriginRefusedError(ForbiddenError):
    code = "origin_refused"


@dataclass(frozen=True, slots=True)
class TrustedNames:
    """`hosts`: lower-case names without port, or `*`; `origins`: scheme://host[:port] beside the own one."""

    hosts: frozenset[str]
    origins: frozenset[str]

    def check(self, connection: HTTPConnection) -> None:
        """Raises HostRefusedError, OriginRefusedError."""
        hosts = connection.headers.getlist("host")
        found = HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if found is None or not (ANY in self.hosts or found["name"].lower() in self.hosts):
            raise HostRefusedError(
                "Host: this name is not served here.",
                hint="ATOM_WEB__ALLOWED_HOSTS lists the names that are.",
                field="Host",
            )
        origins = connection.headers.getlist("origin")
        own = {f"{scheme}://{hosts[0].lower()}" for scheme in ("http", "https")}
        if any(origin.lower() not in own | self.origins for origin in origins):
            raise OriginRefusedError(
                "Origin: pages of this origin may not call Atom.",
                hint="ATOM_WEB__ALLOWED_ORIGINS lists those that may.",
            )
