"""The hosts that a program asks to reach: exact names or everything below a name, each with or without a port."""

from collections.abc import Iterable

from atom.errors import InvalidError
from atom.infra.egress_address import EgressDeniedError, literal_address, name_reason, parse_authority
from atom.infra.egress_policy import EgressPolicy, Rule, Zone

MAX_HOSTS = 64
MAX_ENTRY = 260


def policy(hosts: Iterable[str]) -> EgressPolicy:
    """`example.com` and `*.example.com` mean ports 443 and 80, `example.com:8443` that one. Raises InvalidError.

    A name opens nothing but public addresses, whatever it resolves to. `*.example.com` is not `example.com`.
    """
    return EgressPolicy(tuple(_rule(entry) for entry in hosts), setting="hosts")


def check(hosts: tuple[str, ...]) -> None:
    """Raises InvalidError."""
    if len(hosts) > MAX_HOSTS:
        raise InvalidError(f"More than {MAX_HOSTS} hosts.", field="hosts")
    policy(hosts)


def _rule(entry: str) -> Rule:
    subdomains = entry.startswith("*.")
    try:
        host, port = parse_authority(entry.removeprefix("*.") if len(entry) <= MAX_ENTRY else "")
    except EgressDeniedError as error:
        raise _refused(entry, error.message) from error
    if literal_address(host) is not None:
        raise _refused(entry, "It is an address; only names can be let through.")
    reason = name_reason(host)
    if reason:
        raise _refused(entry, f"It is not a public name ({reason}).")
    return Rule(host, port, subdomains, Zone.PUBLIC)


def _refused(entry: str, why: str) -> InvalidError:
    return InvalidError(
        f"A host cannot be let through. {why}",
        hint="Write example.com, *.example.com or example.com:8443.",
        field="hosts",
        host=entry[:MAX_ENTRY],
    )
