"""The head of a request to the proxy has one reading, or none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.skills.sandbox.egress import request
from atom.skills.sandbox.egress.refusal import Refused

CREDENTIAL = b"Basic right"
AUTH = b"Proxy-Authorization: Basic right"


def head(line: bytes, *fields: bytes, auth: bytes = AUTH) -> bytes:
    return b"\r\n".join([line, auth, *fields]) + b"\r\n\r\n"


def refused(line: bytes, *fields: bytes, auth: bytes = AUTH) -> str:
    with pytest.raises(Refused) as raised:
        request.read(head(line, *fields, auth=auth), CREDENTIAL)
    return raised.value.reason


GET = b"GET http://example.com/a?b=c HTTP/1.1"
HOST = b"Host: example.com"


def test_what_the_host_gets_is_rebuilt_without_what_was_said_to_the_proxy() -> None:
    fields = (
        HOST, b"Accept: */*", b"Connection: keep-alive, X-Private", b"X-Private: 1", b"Proxy-Connection: keep-alive",
        b"Keep-Alive: 5", b"TE: trailers", b"Upgrade: websocket", b"Authorization: Bearer token",
    )  # fmt: skip
    found = request.read(head(GET, *fields), CREDENTIAL)
    assert found.head() == (
        b"GET /a?b=c HTTP/1.1\r\nHost: example.com\r\naccept: */*\r\nauthorization: Bearer token\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert (found.target.host, found.target.port, found.tunnel) == ("example.com", 80, False)


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
def test_a_tunnel_names_host_and_port(version: bytes) -> None:
    found = request.read(head(b"CONNECT Example.COM:8443 " + version), CREDENTIAL)
    assert (found.tunnel, found.target.host, found.target.port) == (True, "example.com", 8443)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"CONNECT example.com HTTP/1.1", "malformed"),
        (b"CONNECT user@example.com:443 HTTP/1.1", "userinfo"),
        (b"CONNECT 0x7f000001:443 HTTP/1.1", "numeric-host"),
        (b"CONNECT example.com:0 HTTP/1.1", "port"),
        (b"CONNECT http://example.com:443 HTTP/1.1", "malformed-host"),
        (b"CONNECT example.com:443/ HTTP/1.1", "malformed-host"),
        (b"GET / HTTP/1.1", "scheme"),
        (b"OPTIONS * HTTP/1.1", "scheme"),
        (b"GET https://example.com/ HTTP/1.1", "scheme"),
        (b"GET ftp://example.com/ HTTP/1.1", "scheme"),
        (b"GET http://a:b@example.com/ HTTP/1.1", "userinfo"),
        (b"GET http://example.com HTTP/2.0", "malformed"),
        (b"GET  http://example.com/ HTTP/1.1", "malformed"),
        (b"GET http://example.com/ x HTTP/1.1", "malformed"),
        (b"get http://example.com/ HTTP/1.1", "malformed"),
        (b"GET http://example.com/\x00 HTTP/1.1", "malformed"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "malformed"),
    ],
)
def test_a_line_that_is_no_request_to_a_proxy_is_refused(line: bytes, reason: str) -> None:
    assert refused(line, HOST) == reason


@pytest.mark.parametrize(
    "fields",
    [
        (), (b"Host: other.com",), (HOST, HOST), (b"Host: example.com:81",), (b"Host: ",),
        (b"Host: example.com, other.com",),
        (b"Host: example.com@other.com",), (b"Host: other.com#example.com",),
    ],
)  # fmt: skip
def test_the_host_header_must_agree(fields: tuple[bytes, ...]) -> None:
    assert refused(GET, *fields) in {"host-header", "malformed", "malformed-host", "userinfo"}


def test_the_host_header_of_a_tunnel_may_lack_but_not_differ() -> None:
    assert refused(b"CONNECT example.com:443 HTTP/1.1", b"Host: other.com:443") == "host-header"
    assert refused(b"CONNECT example.com:443 HTTP/1.1", b"Host: example.com:444") == "host-header"
    assert request.read(head(b"CONNECT example.com:443 HTTP/1.1", b"Host: example.com:443"), CREDENTIAL).tunnel


@pytest.mark.parametrize(
    "fields",
    [
        (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (b"Content-Length: 5", b"Content-Length: 5"),
        (b"Content-Length: 5", b"Content-Length: 6"),
        (b"Content-Length: 5, 5",),
        (b"Content-Length: +5",),
        (b"Content-Length: -5",),
        (b"Content-Length: 0x5",),
        (b"Content-Length: 5 5",),
        (b"Content-Length: ",),
        (b"Content-Length: " + b"9" * 30,),
        (b"Transfer-Encoding: chunked, identity",),
        (b"Transfer-Encoding: identity",),
        (b"Transfer-Encoding: xchunked",),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding : chunked",),
        (b"Transfer-Encoding\t: chunked",),
        (b" Transfer-Encoding: chunked",),
        (b"X: a\r\n Transfer-Encoding: chunked",),
        (b"X: a\nTransfer-Encoding: chunked",),
        (b"X: a\rTransfer-Encoding: chunked",),
        (b"X: \x00",),
        (b"X: \x0b",),
        (b": x",),
        (b"no colon",),
        (b"X: y",) * 101,
    ],
    ids=str,
)
def test_a_body_or_a_field_that_can_be_read_in_two_ways_is_refused(fields: tuple[bytes, ...]) -> None:
    assert refused(b"POST http://example.com/ HTTP/1.1", HOST, *fields) in {"framing", "malformed"}


@pytest.mark.parametrize(
    "auth", [b"X: y", b"Proxy-Authorization: Basic wrong", b"Authorization: Basic right", AUTH + b"x"]
)
def test_nothing_is_told_without_the_credential(auth: bytes) -> None:
    assert refused(b"CONNECT not.allowed:443 HTTP/1.1", auth=auth) == "credential"
    assert refused(GET, HOST, auth=auth) == "credential"


def test_a_chunked_body_stays_one_and_a_sized_one_keeps_its_size() -> None:
    post = b"POST http://example.com/ HTTP/1.1"
    chunked = request.read(head(post, HOST, b"Transfer-Encoding: Chunked"), CREDENTIAL)
    assert chunked.length is None
    assert b"\r\nTransfer-Encoding: chunked\r\n" in chunked.head()
    sized = request.read(head(post, HOST, b"Content-Length: 007"), CREDENTIAL)
    assert sized.length == 7
    assert b"\r\nContent-Length: 7\r\n" in sized.head()
    assert b"\r\nContent-Length: 0\r\n" in request.read(head(post, HOST), CREDENTIAL).head()


@given(st.lists(st.binary(max_size=40), max_size=6), st.binary(max_size=60))
def test_whatever_is_sent_is_a_request_or_a_refusal(fields: list[bytes], line: bytes) -> None:
    for body in (head(line, *fields), head(GET, HOST, *fields), head(b"CONNECT " + line + b" HTTP/1.1", *fields)):
        try:
            found = request.read(body, CREDENTIAL)
        except Refused:
            continue
        rebuilt = found.head() if not found.tunnel else b""
        assert rebuilt.count(b"\r\n\r\n") == (0 if found.tunnel else 1)
        assert b"proxy-authorization" not in rebuilt.lower()
