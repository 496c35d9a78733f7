"""The server that a TLS greeting names, in greetings of the ssl module and in forged ones."""

import os
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.skills.sandbox.egress.hello import Greeting
from atom.skills.sandbox.egress.refusal import Refused

HOST = "example.com"


def greeting(name: str | None) -> bytes:
    """What a client sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    sent = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


def record(body: bytes, kind: int = 22) -> bytes:
    return bytes([kind, 3, 1]) + len(body).to_bytes(2) + body


def hello(*extensions: tuple[int, bytes], session: bytes = b"") -> bytes:
    """A handshake message that is a ClientHello."""
    body = b"".join(kind.to_bytes(2) + len(data).to_bytes(2) + data for kind, data in extensions)
    text = b"\x03\x03" + bytes(32) + bytes([len(session)]) + session + b"\x00\x02\x13\x01" + b"\x01\x00"
    text += len(body).to_bytes(2) + body
    return b"\x01" + len(text).to_bytes(3) + text


def sni(*names: bytes) -> tuple[int, bytes]:
    entries = b"".join(b"\x00" + len(name).to_bytes(2) + name for name in names)
    return 0, len(entries).to_bytes(2) + entries


OURS = sni(b"example.com")


def fed(*parts: bytes) -> Greeting:
    found = Greeting(HOST)
    for part in parts:
        found.feed(part)
    return found


def refused(*parts: bytes) -> str:
    with pytest.raises(Refused) as raised:
        fed(*parts)
    return raised.value.reason


def test_a_real_greeting_names_its_server() -> None:
    assert fed(greeting(HOST)).named
    assert refused(greeting("other.com")) == "server-name"
    assert refused(greeting(None)) == "no-server-name"


@given(st.data())
def test_it_may_come_in_any_pieces_and_records(data: st.DataObject) -> None:
    message = hello(OURS, (16, os.urandom(300)))
    cuts = sorted(data.draw(st.lists(st.integers(1, len(message) - 1), max_size=5, unique=True)))
    records = b"".join(record(message[a:b]) for a, b in zip([0, *cuts], [*cuts, len(message)], strict=True))
    size = data.draw(st.integers(1, 50))
    found = Greeting(HOST)
    for at in range(0, len(records), size):
        assert not found.named
        found.feed(records[at : at + size])
    assert found.named


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (hello(), "no-server-name"),
        (hello(sni()), "no-server-name"),
        (hello(sni(b"example.com", b"other.com")), "server-name"),
        (hello(sni(b"other.com", b"example.com")), "server-name"),
        (hello(sni(b"example.com.")), "server-name"),
        (hello(sni(b"example.com\x00")), "server-name"),
        (hello(sni(b"xexample.com")), "server-name"),
        (hello(OURS, (0xFE0D, b"x")), "encrypted-hello"),
        (hello(OURS, (0xFFCE, b"x")), "encrypted-hello"),
        (hello(OURS, sni(b"other.com")), "not-tls"),
        (hello(sni(b"other.com"), OURS), "not-tls"),
        (hello((0, OURS[1] + b"x")), "not-tls"),
        (hello((0, b"\x00\x05\x01\x00\x02ab")), "not-tls"),
        (hello((0, b"\x00")), "not-tls"),
        (b"\x02" + hello(OURS)[1:], "not-tls"),
        (b"\x01\x00\xff\xff" + hello(OURS)[4:], "not-tls"),
        (b"\x01\x00\x00\x20" + bytes(32), "not-tls"),
    ],
)
def test_a_greeting_that_does_not_name_the_host_and_only_it_is_refused(message: bytes, reason: str) -> None:
    assert refused(record(message)) == reason


@pytest.mark.parametrize(
    "start",
    [
        b"GET / HTTP/1.1\r\n", b"SSH-2.0-x\r\n", b"\x80\x2e\x01\x03\x01", record(b""), record(b"\x01", kind=23),
        record(b"x", 20),
        b"\x16\x02\x00\x00\x05", b"\x16\x03\x01\xff\xff", b"EHLO example.com\r\n",
    ],
)  # fmt: skip
def test_what_is_not_tls_is_known_by_its_first_bytes(start: bytes) -> None:
    assert refused(start) == "not-tls"


def test_upper_case_is_the_same_name() -> None:
    assert fed(record(hello(sni(b"EXAMPLE.com")))).named


CHANGE = record(b"\x01", kind=20)


@pytest.mark.parametrize(
    "between", [(), (CHANGE,), (CHANGE, record(os.urandom(500), kind=23)), (record(b"\x01\x00", kind=21),)]
)
def test_a_second_greeting_after_a_retry_must_name_the_same(between: tuple[bytes, ...]) -> None:
    first, other = record(hello(OURS)), hello(sni(b"other.com"))
    assert fed(first, *between, record(hello(OURS))).named
    assert refused(first, *between, record(other)) == "server-name"
    assert refused(first, *between, record(other[:2]), record(other[2:30]), record(other[30:])) == "server-name"
    assert refused(first, *between, record(other + b"\x00\x00")) == "server-name"


def test_a_second_greeting_in_the_first_record_is_seen() -> None:
    assert refused(record(hello(OURS) + hello(sni(b"other.com")))) == "server-name"
    assert (
        refused(record(hello(OURS) + hello(sni(b"other.com"))[:9]), record(hello(sni(b"other.com"))[9:]))
        == "server-name"
    )


def test_a_second_greeting_may_not_be_too_long_to_be_looked_at() -> None:
    long = hello((21, bytes(20_000)), sni(b"other.com"))
    assert refused(record(hello(OURS)), record(long[:16_000]), record(long[16_000:])) == "not-tls"


def test_tls_1_2_goes_on_encrypted() -> None:
    key_exchange = record(b"\x10\x00\x00\x21" + bytes(33))
    found = fed(record(hello(OURS)), key_exchange, CHANGE, record(b"\x01\x00\x00\x05" + os.urandom(40)), os.urandom(99))
    assert found.named
    assert not found.watching
    resumed = fed(record(hello(OURS)), CHANGE, record(b"\xf1" + os.urandom(39)), os.urandom(99))
    assert resumed.named


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_whatever_is_sent_is_a_greeting_or_a_refusal(first: bytes, second: bytes) -> None:
    for start in (first, record(first + b"x"), record(hello(OURS)) + first, record(hello((0, first)))):
        try:
            found = fed(start, second)
        except Refused:
            continue
        assert not found.named or b"example.com" in start + second
