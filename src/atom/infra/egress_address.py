"""Which addresses on the network an agent may reach. Pure rules: no resolver, no socket, no settings.

A URL is read once, strictly, into a `Target`; what is ambiguous to any parser is refused, not guessed. Addresses are
judged only as parsed numbers: a name that looks like an address (`127.1`, `0x7f000001`) is never handed to a resolver.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import httpx2
import idna

from atom.errors import ForbiddenError

MAX_URL_CHARS = 2048
DEFAULT_PORTS = {"http": 80, "https": 443}
Address = IPv4Address | IPv6Address


class EgressDeniedError(ForbiddenError):
    """The rules forbid this target. `reason` in the details is a stable word; the message names no address."""

    code = "egress_refused"

    def __init__(self, message: str, *, reason: str, hint: str = "") -> None:
        super().__init__(message, hint=hint, reason=reason)
        self.reason = reason


# The IANA special-purpose registries, widened where a translation or a cloud would lead inside. The first hit names the
# reason. An explicit permission of the deployment opens `OPENABLE` reasons only.
_NETWORKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("metadata", (
        "169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32", "100.100.100.200/32", "168.63.129.16/32",
        "192.0.0.192/32", "fd00:ec2::/32", "fd20:ce::254/128",
    )),
    ("unspecified", ("0.0.0.0/8", "::/128")),
    ("loopback", ("127.0.0.0/8", "::1/128")),
    ("private", ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")),
    ("shared", ("100.64.0.0/10",)),
    ("link-local", ("169.254.0.0/16", "fe80::/10", "fec0::/10")),
    ("multicast", ("224.0.0.0/4", "ff00::/8")),
    ("embedded-ipv4", ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")),
    ("tunnel", ("2001::/32", "2002::/16", "192.88.99.0/24")),
    ("reserved", (
        "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.175.48.0/24", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
        "100::/64", "2001::/23", "2001:db8::/32", "2620:4f:8000::/48", "3fff::/20", "5f00::/16",
    )),
)  # fmt: skip
NETWORKS: tuple[tuple[str, IPv4Network | IPv6Network], ...] = tuple(
    (reason, ip_network(text)) for reason, texts in _NETWORKS for text in texts
)
GLOBAL_UNICAST = IPv6Network("2000::/3")  # the only IPv6 space that is handed out
OPENABLE = frozenset({"loopback", "private", "shared"})

METADATA_NAMES = frozenset({
    "metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal",
    "metadata.tencentyun.com", "metadata.azure.internal", "metadata.platformequinix.com",
})  # fmt: skip
LOCAL_SUFFIXES = frozenset({
    "localhost", "localdomain", "local", "internal", "intranet", "private", "lan", "home", "corp", "cluster", "svc",
    "arpa", "onion", "test", "invalid", "alt",
})  # fmt: skip
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>[^#]*)(?:#.*)?")
_AUTHORITY = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL in its one canonical reading. `host` is lower-case ASCII without brackets and without a trailing dot."""

    url: httpx2.URL
    scheme: str
    host: str
    port: int
    address: Address | None

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port


def address_reason(address: Address) -> str | None:
    """Why this address is not on the public internet; None when it is."""
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return "link-local"
    for reason, network in NETWORKS:
        if address.version == network.version and address in network:
            return reason
    if isinstance(address, IPv6Address):
        if address not in GLOBAL_UNICAST:
            return "reserved"
        if (int(address) >> 32) & 0xFDFFFFFF == 0x00005EFE:  # ISATAP: the last 32 bits are an IPv4 address
            return "embedded-ipv4"
    return None if address.is_global else "reserved"


def name_reason(host: str) -> str | None:
    """Why a host name cannot be one of the public internet; None when it can. Its addresses are judged on their own."""
    if host in METADATA_NAMES:
        return "metadata"
    labels = host.split(".")
    if len(labels) == 1 or labels[-1] in LOCAL_SUFFIXES:
        return "local-name"
    return None


def parse_target(text: str) -> Target:
    """The target a URL means. Raises EgressDeniedError for everything that is not plainly one http or https target."""
    if len(text) > MAX_URL_CHARS:
        raise EgressDeniedError(f"The URL has more than {MAX_URL_CHARS} characters.", reason="malformed-url")
    if "\\" in text or any(char.isspace() or not char.isprintable() for char in text):
        raise EgressDeniedError(
            "The URL contains a space, a backslash or an invisible character.",
            reason="malformed-url",
            hint="Percent-encode it, for example a space as %20.",
        )
    match = _URL.fullmatch(text)
    scheme = match["scheme"].lower() if match else ""
    if match is None or scheme not in DEFAULT_PORTS:
        raise EgressDeniedError(
            "Only http and https URLs can be fetched.", reason="scheme", hint="Write https://host/path."
        )
    host, port = parse_authority(match["authority"])
    netloc = f"[{host}]" if ":" in host else host
    url = _url(f"{scheme}://{netloc}:{port or DEFAULT_PORTS[scheme]}{match['rest']}")
    if url.raw_host.decode("ascii") != host:
        raise EgressDeniedError("The host of the URL can be read in two ways.", reason="malformed-host")
    return Target(url, scheme, host, port or DEFAULT_PORTS[scheme], literal_address(host))


def parse_authority(text: str) -> tuple[str, int | None]:
    """Host in canonical form, and the port when it is written. Raises EgressDeniedError."""
    if "@" in text:
        raise EgressDeniedError("The URL carries a user name or password.", reason="userinfo", hint="Leave it out.")
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        raise EgressDeniedError(
            "The host of the URL is malformed.", reason="malformed-host", hint="Write host or host:port."
        )
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 1 <= port <= 65535:
        raise EgressDeniedError("The port of the URL is not one from 1 to 65535.", reason="port")
    return (_canonical_v6(match["v6"]) if match["v6"] else canonical_name(match["name"])), port


def canonical_name(text: str) -> str:
    """A host name or dotted IPv4 address as a resolver would be asked for it. Raises EgressDeniedError."""
    name = _to_ascii(text[:MAX_URL_CHARS]).lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise EgressDeniedError("The host name is malformed.", reason="malformed-host", hint="Check its spelling.")
    if _NUMERIC.fullmatch(labels[-1]):  # WHATWG: such a host is an IPv4 address, in whatever notation
        try:
            return str(IPv4Address(name))
        except ValueError as error:
            raise EgressDeniedError(
                "The host is a number that is not a plain IPv4 address.",
                reason="numeric-host",
                hint="Write it as a.b.c.d.",
            ) from error
    return name


def _to_ascii(text: str) -> str:
    if text.isascii():
        return text
    try:
        return idna.encode(text, uts46=True, std3_rules=True).decode("ascii")
    except UnicodeError as error:
        raise EgressDeniedError("The host is not a valid international name.", reason="malformed-host") from error


def _canonical_v6(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except ValueError as error:
        raise EgressDeniedError("The IPv6 address of the URL is malformed.", reason="malformed-host") from error


def literal_address(host: str) -> Address | None:
    """The address that a canonical host spells, None when it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def _url(text: str) -> httpx2.URL:
    try:
        return httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise EgressDeniedError("The URL is malformed.", reason="malformed-url", hint="Percent-encode it.") from error
