"""How routes declare who may call them: `Depends(guard.requires(Permission.X))`, or `Depends(public)`.

Authorisation is by route dependency, never by path: a malformed Host or a rewritten path cannot step around it.
"""

from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from atom.identity.errors import CredentialInvalidError, CredentialMissingError, PermissionMissingError
from atom.identity.models import Permission, Principal
from atom.identity.origin import TrustedNames
from atom.identity.service import IdentityService, authenticate
from atom.infra.db import Sessions

SUBPROTOCOL = (
    "atom.token."  # browsers cannot set headers on a WebSocket: the token travels as a subprotocol, not in the URL
)
PRINCIPAL = "atom.principal"  # where the scope of a request keeps who was found to be calling


@dataclass(frozen=True, slots=True, eq=False)  # FastAPI keys its dependencies by identity
class Requires:
    """A dependency that yields the Principal, or raises. `permission` is read by the test that walks all routes."""

    permission: Permission
    identity: IdentityService
    sessions: Sessions
    names: TrustedNames

    async def __call__(self, connection: HTTPConnection) -> Principal:
        principal: Principal | None = connection.scope.get(PRINCIPAL)
        if principal is None:
            return await self.authorise(connection)
        return self._permitted(principal)

    async def authorise(self, connection: HTTPConnection) -> Principal:
        """Ask the database who is calling, whatever was found before."""
        self.names.check(connection)
        principal = await authenticate(self.identity, self.sessions, credential(connection))
        connection.scope[PRINCIPAL] = principal
        return self._permitted(principal)

    def _permitted(self, principal: Principal) -> Principal:
        if not principal.may(self.permission):
            raise PermissionMissingError(self.permission.value)
        return principal


async def public() -> None:
    """Marks a route that needs no credential: health, metrics, and what is `signed`."""


async def signed() -> None:
    """Beside `public`: what is sent has to prove by itself who sends it, and is refused with 401 where it does not."""


class GuardedRoute(APIRoute):
    """Looks at who is calling before it looks at what they sent: a stranger's body is neither read nor judged."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        needed = [call for call in calls_of(self.dependant) if isinstance(call, Requires)]

        async def guarded(request: Request) -> Response:
            for requires in needed:
                await requires(request)
            return await handle(request)

        return guarded


def calls_of(dependant: Dependant) -> Iterator[object]:
    """What a route's dependencies call, however deep."""
    for inner in dependant.dependencies:
        yield inner.call
        yield from calls_of(inner)


@dataclass(frozen=True, slots=True)
class Guard:
    identity: IdentityService
    sessions: Sessions
    names: TrustedNames

    def requires(self, permission: Permission) -> Requires:
        return Requires(permission, self.identity, self.sessions, self.names)


def credential(connection: HTTPConnection) -> str:
    """The bearer token of a request or a WebSocket handshake. Raises when there is none, or more than one."""
    headers = connection.headers.getlist("authorization")
    offered = [p.strip() for line in connection.headers.getlist("sec-websocket-protocol") for p in line.split(",")]
    carried = [p.removeprefix(SUBPROTOCOL) for p in offered if p.startswith(SUBPROTOCOL)]
    if len(headers) + len(carried) > 1:
        raise CredentialInvalidError
    if carried:
        return carried[0]
    if not headers:
        raise CredentialMissingError
    scheme, _, token = headers[0].partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise CredentialInvalidError
    return token.strip()
