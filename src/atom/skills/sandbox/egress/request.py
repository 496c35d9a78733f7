"""The head of a request to the proxy, read once and strictly: what two parsers could read in two ways is refused."""

import re
from dataclasses import dataclass
from hmac import compare_digest

from atom.infra.egress_address import DEFAULT_PORTS, EgressDeniedError, Target, parse_authority, parse_target
from atom.skills.sandbox.egress.refusal import Refused, malformed

MAX_FIELDS = 100
END = b"\r\n\r\n"
_LINE = re.compile(rb"([A-Z]{1,32}) ([!-~]+) HTTP/1\.[01]")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
_LENGTH = re.compile(rb"[0-9]{1,15}")
# What is said to the proxy and not to the host.
HOPS = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te", b"trailer",
    b"transfer-encoding", b"upgrade", b"host", b"content-length",
})  # fmt: skip

Fields = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Request:
    """`tunnel`: CONNECT. `fields` are what the host may see, without those about the body. `length` of the body;
    None: it comes in chunks."""

    method: bytes
    target: Target
    tunnel: bool
    fields: tuple[tuple[bytes, bytes], ...] = ()
    length: int | None = 0

    def head(self) -> bytes:
        """As the host is to get it: origin form, the host that was judged, and the last one on its connection."""
        lines = [self.method + b" " + self.target.url.raw_path + b" HTTP/1.1", b"Host: " + self.target.url.netloc]
        lines += [name + b": " + value for name, value in self.fields]
        if self.length is None:
            lines.append(b"Transfer-Encoding: chunked")
        elif self.length or self.method in {b"POST", b"PUT", b"PATCH"}:
            lines.append(b"Content-Length: " + str(self.length).encode())
        return b"\r\n".join([*lines, b"Connection: close"]) + END


def read(head: bytes, credential: bytes) -> Request:
    """`credential` is the whole value that Proxy-Authorization must have. Raises Refused."""
    method, address, fields = _split(head)
    given = _only(fields, b"proxy-authorization")
    if given is None or not compare_digest(given, credential):
        raise Refused("credential", "The proxy's user and password of this execution are needed.", 407)
    try:
        if method == b"CONNECT":
            return _tunnel(address, fields)
        return _plain(method, address, fields)
    except EgressDeniedError as error:
        raise Refused(error.reason, error.message, 400) from error


def read_inside(head: bytes, tunnel: Target) -> Request:
    """A request without TLS in a tunnel, as some clients make it: to the host of the tunnel. Raises Refused."""
    method, path, fields = _split(head)
    if method == b"CONNECT" or not path.startswith("/"):
        raise malformed("In a tunnel there is TLS, or a request for a path.")
    netloc = f"[{tunnel.host}]" if ":" in tunnel.host else tunnel.host
    try:
        return _plain(method, f"http://{netloc}:{tunnel.port}{path}", fields)
    except EgressDeniedError as error:
        raise Refused(error.reason, error.message, 400) from error


def _split(head: bytes) -> tuple[bytes, str, Fields]:
    """Method, address and fields."""
    lines = head.removesuffix(END).split(b"\r\n")
    if b"\n" in head.replace(b"\r\n", b"") or b"\r" in head.replace(b"\r\n", b""):
        raise malformed("A line of the request ends in an unusual way.")
    first = _LINE.fullmatch(lines[0])
    if first is None:
        raise malformed("This is a proxy for HTTP: CONNECT host:port, or GET http://host/path.")
    return first.group(1), first.group(2).decode("ascii"), _fields(lines[1:])


def _tunnel(authority: str, fields: Fields) -> Request:
    host, port = parse_authority(authority)
    if port is None:
        raise malformed("CONNECT needs a port.")
    netloc = f"[{host}]" if ":" in host else host
    target = parse_target(f"https://{netloc}:{port}/")
    said = _only(fields, b"host")
    if said is not None:
        named, other = parse_authority(said.decode("latin-1"))
        if named != host or other not in {None, port}:
            raise Refused("host-header", "The Host header names another host.", 400)
    return Request(b"CONNECT", target, tunnel=True)


def _plain(method: bytes, address: str, fields: Fields) -> Request:
    target = parse_target(address)
    if target.scheme != "http":
        raise Refused("scheme", "A host that speaks TLS is reached with CONNECT.", 400)
    said = _only(fields, b"host")
    if said is None:
        raise Refused("host-header", "The request has no Host header.", 400)
    named, port = parse_authority(said.decode("latin-1"))
    if (named, port or DEFAULT_PORTS["http"]) != (target.host, target.port):
        raise Refused("host-header", "The Host header names another host.", 400)
    dropped = HOPS | {
        word.strip().lower() for name, value in fields if name == b"connection" for word in value.split(b",")
    }
    kept = tuple((name, value) for name, value in fields if name not in dropped)
    return Request(method, target, tunnel=False, fields=kept, length=_length(fields))


def _length(fields: Fields) -> int | None:
    length, coding = _only(fields, b"content-length"), _only(fields, b"transfer-encoding")
    if coding is None and length is None:
        return 0
    if coding is not None:
        if length is not None or coding.lower() != b"chunked":
            raise Refused("framing", "The length of the body can be read in two ways.", 400)
        return None
    if length is None or _LENGTH.fullmatch(length) is None:
        raise Refused("framing", "The length of the body is not a number.", 400)
    return int(length)


def _fields(lines: list[bytes]) -> Fields:
    if len(lines) > MAX_FIELDS:
        raise malformed(f"More than {MAX_FIELDS} header fields.")
    found = []
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise malformed("A header field is malformed.")
        found.append((field.group(1).lower(), field.group(2).rstrip(b" \t")))
    return found


def _only(fields: Fields, name: bytes) -> bytes | None:
    values = [value for found, value in fields if found == name]
    if len(values) > 1:
        raise malformed(f"{name.decode()} is there more than once.")
    return values[0] if values else None
