"""What Atom and a supervisor say to each other: one request, one reply, each a length and its value.

`marshal`, because it costs no import and carries bytes as they are. Both ends are Atom; what a program wrote is inside
as bytes that neither end interprets here.
"""

import marshal
import os

VERSION = 2  # of marshal: what every Python that Atom runs on can read
LENGTH = 8

Request = dict[str, object]
Reply = dict[str, object]


def pack(value: dict[str, object]) -> bytes:
    body = marshal.dumps(value, VERSION)
    return len(body).to_bytes(LENGTH, "little") + body


def unpack(body: bytes) -> dict[str, object]:
    value = marshal.loads(body)  # noqa: S302 - from the other end, which is Atom too
    if not isinstance(value, dict):
        raise ValueError("not a message")
    return value


def receive(file: int) -> dict[str, object]:
    """Raises EOFError when the other end went away."""
    return unpack(_exactly(file, int.from_bytes(_exactly(file, LENGTH), "little")))


def send(file: int, value: dict[str, object]) -> None:
    view = memoryview(pack(value))
    while view:
        view = view[os.write(file, view) :]


def _exactly(file: int, count: int) -> bytes:
    parts = []
    while count:
        part = os.read(file, min(count, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
