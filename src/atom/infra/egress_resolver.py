"""Names to addresses for the egress client."""

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Protocol

from atom.errors import NotFoundError, UnavailableError
from atom.infra.egress_address import Address, EgressDeniedError, Target
from atom.infra.egress_policy import Zone, check_addresses

RESOLVER_THREADS = 8
MAX_ADDRESSES = 64


class EgressNameError(NotFoundError):
    """The host name does not exist."""

    code = "host_not_found"


class EgressUnreachableError(UnavailableError):
    """The host does not answer, or its certificate is not valid for the name."""

    code = "egress_unreachable"


class Resolver(Protocol):
    """Turns a name into the text of its addresses. A trailing dot asks for exactly this name, no search domains."""

    async def addresses(self, name: str) -> Sequence[str]: ...


class SystemResolver:
    """The operating system's resolver, on threads of its own: a hanging name server must not stop the file tools."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="atom-dns")

    async def addresses(self, name: str) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, _resolve, name)
        except socket.gaierror as error:
            if error.errno in {socket.EAI_AGAIN, socket.EAI_FAIL}:
                raise EgressUnreachableError("The name server does not answer.", hint="Try again later.") from error
            raise EgressNameError(f"The host {name.rstrip('.')} does not exist.", hint="Check its spelling.") from error


async def checked_addresses(resolver: Resolver, target: Target, zone: Zone) -> list[Address]:
    """Where a target lies: at least one address, each of them fit for `zone`. Connect to these, not to the name.

    Raises EgressDeniedError, EgressNameError or EgressUnreachableError.
    """
    if target.address is not None:
        found: list[Address] = [target.address]
    else:
        name = target.host if zone is Zone.INTERNAL else f"{target.host}."
        found = [_parse_address(text) for text in (await resolver.addresses(name))[:MAX_ADDRESSES]]
    if not found:
        raise EgressNameError(f"The host {target.host} has no address.", hint="Check its spelling.")
    check_addresses(target.host, found, zone)
    return found


def _parse_address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError as error:
        raise EgressDeniedError("The resolver answered with something that is no address.", reason="address") from error


def _resolve(name: str) -> list[str]:
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
