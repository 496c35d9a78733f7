"""Which server a TLS client says it wants, in the bytes it sends. Nothing is decrypted.

The name is looked at in every ClientHello: after a server's HelloRetryRequest there is a second one, and a name that
changed there would be a way to another server behind the same address.
"""

from dataclasses import dataclass, field

from atom.skills.sandbox.egress.refusal import Refused

CHANGE_CIPHER, ALERT, HANDSHAKE, DATA, HEARTBEAT = 20, 21, 22, 23, 24
HEADER = 5
MOST_RECORD = 16_384 + 2_048
MOST_HELLO = 16_384
MOST_ACCEPTED = 1 << 18  # no server takes a greeting of more bytes
CLIENT_HELLO = 1
SERVER_NAME = 0
ENCRYPTED = frozenset({0xFE0D, 0xFFCE})  # the true name would be where nobody can read it
UNRECOGNIZED_NAME = b"\x15\x03\x01\x00\x02\x02\x70"  # a fatal alert


@dataclass(slots=True)
class Greeting:
    """Fed with what the client sends, in order. `named` once a greeting for `host` was complete."""

    host: str
    named: bool = False
    watching: bool = True
    record: bytearray = field(default_factory=bytearray)
    length: int = 0  # of the handshake record that is read
    skip: int = 0  # bytes of a record of another kind that are still to come
    hello: bytearray = field(default_factory=bytearray)

    def feed(self, part: bytes) -> None:
        """Raises Refused as soon as it is sure; the bytes must not be passed on then."""
        view = memoryview(part)
        while view and self.watching:
            if self.skip:
                step = min(self.skip, len(view))
                self.skip -= step
                view = view[step:]
                continue
            missing = HEADER + self.length - len(self.record)
            self.record += view[:missing]
            view = view[missing:]
            if len(self.record) == HEADER and not self.length:
                self._header()
            elif self.length and len(self.record) == HEADER + self.length:
                body = bytes(self.record[HEADER:])
                self.record.clear()
                self.length = 0
                self._handshake(body)

    def _header(self) -> None:
        kind, length = self.record[0], int.from_bytes(self.record[3:5])
        known = CHANGE_CIPHER <= kind <= HEARTBEAT and self.record[1] == 3 and length <= MOST_RECORD
        if not known or (not self.named and kind != HANDSHAKE) or (kind == HANDSHAKE and not length):
            raise Refused("not-tls", "Only TLS goes through a tunnel.")
        if kind == HANDSHAKE:
            self.length = length
            return
        self.skip = length
        self.record.clear()

    def _handshake(self, body: bytes) -> None:
        self.hello += body
        while self.hello and self.watching:
            if self.hello[0] != CLIENT_HELLO:
                self._other()
                return
            if len(self.hello) < 4:
                return
            length = int.from_bytes(self.hello[1:4])
            if length > MOST_ACCEPTED and self.named:
                self._other()
                return
            if length > MOST_HELLO:
                raise Refused("not-tls", "The TLS greeting is too long.")
            if len(self.hello) < 4 + length:
                return
            check(bytes(self.hello[4 : 4 + length]), self.host)
            self.named = True
            del self.hello[: 4 + length]

    def _other(self) -> None:
        """Something else than a greeting: TLS 1.2 goes on with its keys, and all that follows is encrypted."""
        if not self.named:
            raise Refused("not-tls", "Only TLS goes through a tunnel.")
        self.watching = False
        self.hello.clear()


def check(hello: bytes, host: str) -> None:
    """The body of a ClientHello. Raises Refused unless it names `host`, in the open, and nothing else."""
    try:
        extensions = _extensions(hello)
        names = _names(extensions.get(SERVER_NAME, b""))
    except (IndexError, ValueError):
        raise Refused("not-tls", "The TLS greeting is malformed.") from None
    if ENCRYPTED & extensions.keys():
        raise Refused("encrypted-hello", "An encrypted greeting hides which server it is for.")
    if not names:
        raise Refused("no-server-name", "The TLS greeting names no server (SNI).")
    if [name.lower() for name in names] != [host.encode("ascii")]:
        raise Refused("server-name", "The TLS greeting names another server than CONNECT did.")


def _extensions(hello: bytes) -> dict[int, bytes]:
    rest = _rest_after(hello[34:], 1)  # version and random before it: the session
    rest = _rest_after(rest, 2)  # ciphers
    rest = _rest_after(rest, 1)  # compression
    body = _sized(rest, 2) if rest else b""
    if rest and len(body) + 2 != len(rest):
        raise ValueError("something follows the extensions")
    found: dict[int, bytes] = {}
    while body:
        kind = int.from_bytes(body[:2])
        if kind in found:
            raise ValueError("an extension twice")
        found[kind] = _sized(body[2:], 2)
        body = body[4 + len(found[kind]) :]
    return found


def _names(extension: bytes) -> list[bytes]:
    if not extension:
        return []
    entries = _sized(extension, 2)
    if len(entries) + 2 != len(extension):
        raise ValueError("something follows the names")
    names = []
    while entries:
        if entries[0] != 0:
            raise ValueError("a name of another kind")
        names.append(_sized(entries[1:], 2))
        entries = entries[3 + len(names[-1]) :]
    return names


def _sized(data: bytes, width: int) -> bytes:
    """What a length of `width` bytes announces."""
    length = int.from_bytes(data[:width])
    if len(data) < width + length:
        raise ValueError("it ends too early")
    return data[width : width + length]


def _rest_after(data: bytes, width: int) -> bytes:
    return data[width + len(_sized(data, width)) :]
