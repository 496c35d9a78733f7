"""The deployment's own word on egress: which hosts may be reached, and which inner ones are opened on purpose."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from atom.errors import InvalidError
from atom.infra.egress_address import (
    METADATA_NAMES,
    OPENABLE,
    Address,
    EgressDeniedError,
    Target,
    address_reason,
    literal_address,
    name_reason,
    parse_authority,
)

WEB_PORTS = frozenset({80, 443})
INTERNAL = "internal:"
TOOLS_SETTING = "ATOM_TOOLS__HTTP_ALLOW"


class EgressRuleError(InvalidError):
    """An entry of the allow-list cannot be understood, or opens what is never opened."""

    code = "egress_rule_invalid"


class Zone(StrEnum):
    """Where a target may lie. INTERNAL only for hosts that the deployment names."""

    PUBLIC = "public"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry. `port` None means 80 and 443. `subdomains`: every name below `host`, and not `host` itself."""

    host: str
    port: int | None
    subdomains: bool
    zone: Zone

    def covers(self, target: Target) -> bool:
        fits_port = target.port == self.port if self.port else target.port in WEB_PORTS
        return fits_port and self._covers_host(target)

    def _covers_host(self, target: Target) -> bool:
        if not self.subdomains:
            return target.host == self.host
        return not self.host or (target.address is None and target.host.endswith(f".{self.host}"))


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """No rules: every public host, on ports 80 and 443. With rules: what they name, and nothing else.

    `setting`: where an operator finds them.
    """

    rules: tuple[Rule, ...] = ()
    setting: str = TOOLS_SETTING

    @classmethod
    def parse(cls, entries: Iterable[str], *, setting: str = TOOLS_SETTING) -> "EgressPolicy":
        """Read an allow-list. Raises EgressRuleError naming `setting` and the entry.

        `example.com`            that public host, ports 80 and 443
        `example.com:8443`       that public host, that port only
        `*.example.com`          every public host below it (with `:port` too)
        `*`                      every public host; for a list that only adds inner hosts
        `internal:wiki.corp:80`  that exact name, also when it lies on a loopback, private, shared or ULA address
        `10.1.2.3:8080`, `[::1]` that exact address, also when it is such an inner one
        Link-local, multicast, reserved and cloud metadata addresses are never opened.
        """
        return cls(tuple(_rule(entry, setting) for entry in entries), setting)

    def zone(self, target: Target) -> Zone:
        """Where this target may lie. Raises EgressDeniedError when it may not be reached at all."""
        fitting = [rule for rule in self.rules if rule.covers(target)]
        if any(rule.zone is Zone.INTERNAL for rule in fitting) and target.host not in METADATA_NAMES:
            return Zone.INTERNAL
        if self.rules and not fitting:
            raise EgressDeniedError(
                f"{target.host}:{target.port} is not on the list of hosts that this deployment allows.",
                reason="not-allowed",
                hint=f"An operator can add it to {self.setting}.",
            )
        if not fitting and target.port not in WEB_PORTS:
            raise EgressDeniedError(
                f"Port {target.port} is not allowed.", reason="port", hint="Only 80 and 443 are, unless listed."
            )
        reason = None if target.address else name_reason(target.host)
        if reason:
            raise EgressDeniedError(f"{target.host} is not a public host name.", reason=reason)
        return Zone.PUBLIC


def check_addresses(host: str, addresses: Iterable[Address], zone: Zone) -> None:
    """Every address must be fit, not only the one that is used. Raises EgressDeniedError."""
    for address in addresses:
        reason = address_reason(address)
        if reason and not (zone is Zone.INTERNAL and reason in OPENABLE):
            raise EgressDeniedError(
                f"{host} lies on an address that may not be reached ({reason}).",
                reason=reason,
                hint="Only public addresses can be fetched.",
            )


def _rule(entry: str, setting: str) -> Rule:
    inner = entry.startswith(INTERNAL)
    text = entry.removeprefix(INTERNAL)
    if entry == "*":
        return Rule("", None, True, Zone.PUBLIC)
    try:
        host, port = parse_authority(text.removeprefix("*."))
    except EgressDeniedError as error:
        raise EgressRuleError(
            f"{setting}: {entry!r} is not a host. {error.message}",
            hint="Write host, host:port, *.host, an IP address, or internal:host.",
        ) from error
    address = literal_address(host)
    opened = inner or address is not None
    problem = _problem(host, address, opened=opened, subdomains=text.startswith("*."))
    if problem:
        raise EgressRuleError(f"{setting}: {entry!r} {problem}", hint="Correct or remove the entry.")
    return Rule(host, port, text.startswith("*."), Zone.INTERNAL if opened else Zone.PUBLIC)


def _problem(host: str, address: Address | None, *, opened: bool, subdomains: bool) -> str:
    if subdomains and opened:
        return "opens an inner network by wildcard; name each inner host."
    reason = address_reason(address) if address else name_reason(host)
    if reason == "metadata" or (address and reason and reason not in OPENABLE):
        return f"is never reachable ({reason})."
    if reason == "local-name" and not opened:
        return f"is not a public name; if it is meant, write internal:{host}."
    return ""
